import HuggingFace
import Support
import TensorCore
import TestSupport
import Testing

/// A safetensors file of a header as given and zeros for data.
func safetensors(_ header: String, data: Int, length: UInt64? = nil) -> [UInt8] {
    safetensors(Array(header.utf8), data: data, length: length)
}

func safetensors(_ header: [UInt8], data: Int, length: UInt64? = nil) -> [UInt8] {
    withUnsafeBytes(of: (length ?? UInt64(header.count)).littleEndian, Array.init) + header + Array(repeating: 0, count: data)
}

@Suite struct SafetensorsTests {
    let folder: TemporaryFolder
    init() throws { folder = try TemporaryFolder() }

    private func open(_ bytes: [UInt8]) throws -> SafetensorsFile {
        let path = folder.file("x.safetensors")
        try AtomicFile.write(bytes, to: path)
        return try SafetensorsFile(path)
    }

    @Test func `what is written reads back, to each type's rounding`() throws {
        var random = RandomStream(seed: 1)
        let tensor = Tensor(normal: [700, 501], from: &random)  // more than one chunk
        let integers = (0..<24).map { $0 * $0 - 90 }
        let path = folder.file("all.safetensors")
        try SafetensorsFile.write(
            [
                TensorSource("w.f16", tensor, as: .f16), TensorSource("w.bf16", tensor, as: .bf16),
                TensorSource("w.f32", tensor),
                TensorSource("i64", integers: integers, [4, 6], as: .i64), TensorSource("i32", integers: integers, [24]),
                TensorSource("i8", integers: integers.map { $0 / 5 }, [24], as: .i8), TensorSource("scalar", Tensor([7], [])),
                TensorSource("empty", Tensor(zeros: [0, 3])), TensorSource("raw", .u8, [3]) { .bytes([1, 2, 255]) },
            ], to: path, metadata: ["format": "pt", "bits": "4"])
        let file = try SafetensorsFile(path)
        #expect(file.metadata == ["format": "pt", "bits": "4"])
        #expect(try file.readFloat("w.f32").elements == tensor.elements)
        // Half a unit in the last place: 11 significant bits, and 8.
        #expect(try relativeError(file.readFloat("w.f16"), tensor) < 0x1p-11)
        #expect(try file.readFloat("w.bf16").elements == tensor.elements.map { BFloat16.widen(BFloat16.narrow($0)) })
        #expect(try file.readInts("i64") == integers && file.readInts("i32") == integers)
        #expect(try file.readFloat("i8").elements == integers.map { Float($0 / 5) })
        #expect(try file.readFloat("scalar").shape == [] && file.readFloat("scalar")[flat: 0] == 7)
        #expect(try file.readFloat("empty").shape == [0, 3])
        #expect(try file.readInts("raw") == [1, 2, 255] && file.readBytes("raw") == [1, 2, 255])
        #expect(try file.readFloat("w.bf16", rows: 698..<700).elements == Array(file.readFloat("w.bf16").elements.suffix(1002)))
        #expect(try file.readInts("i64", rows: 1..<2) == Array(integers[6..<12]))
        #expect(throws: FileError.self) { try file.readFloat("w.f32", rows: 699..<701) }
        #expect(throws: FileError.self) { try file.readFloat("scalar", rows: 0..<1) }
        #expect(throws: FileError.self) { try file.readFloat("i64") }
        #expect(throws: FileError.self) { try file.readInts("w.f32") }
    }

    @Test func `halves round to nearest, ties to even, and overflow is refused`() throws {
        let path = folder.file("h.safetensors")
        let values: [Float] = [1 + 0x1p-11, 1 + 0x3p-11, 0x1p-25, 0x1.8p-24, 65519, -0.0]
        try SafetensorsFile.write([TensorSource("h", Tensor(values, [6]), as: .f16)], to: path)
        #expect(try SafetensorsFile(path).readFloat("h").elements == [1, 1 + 0x1p-9, 0, 0x1p-23, 65504, -0.0])
        #expect {
            try SafetensorsFile.write([TensorSource("h", Tensor([65520], [1]), as: .f16)], to: path)
        } throws: { "\($0)".contains("beyond F16's range") }
        #expect(try SafetensorsFile(path).readFloat("h").count == 6, "the old file must be kept")
    }

    @Test func `data begin at a multiple of 8, wider types first, then names`() throws {
        let path = folder.file("o.safetensors")
        try SafetensorsFile.write(
            [
                TensorSource("b", Tensor(zeros: [1])), TensorSource("c", integers: [1], [1], as: .i64),
                TensorSource("a", Tensor(zeros: [1])),
            ],
            to: path)
        let bytes = try InputFile.contents(of: path, limit: 1 << 20)
        #expect(bytes[0] % 8 == 0)
        let file = try SafetensorsFile(path)
        let order = file.tensors.sorted { $0.value.byteRange.lowerBound < $1.value.byteRange.lowerBound }.map(\.key)
        #expect(order == ["c", "a", "b"])
    }

    @Test func `NaN and infinity are refused where finite numbers are asked for`() throws {
        let path = folder.file("n.safetensors")
        try SafetensorsFile.write([TensorSource("w", Tensor([0, 1, .nan, .infinity], [4]), as: .bf16)], to: path)
        #expect(try SafetensorsFile(path).readFloat("w")[flat: 2].isNaN)
        #expect { try SafetensorsFile(path).readFloat("w", finite: true) } throws: {
            "\($0)".contains("tensor w: element 2 is nan")
        }
    }

    @Test(arguments: [
        (Array<UInt8>([1, 2, 3]), "has 3 bytes"),
        (safetensors("{}", data: 0, length: 3), "reaches past the end"),
        (safetensors("{}", data: 0, length: 100_000_001), "is above 100000000"),
        (safetensors("{}", data: 0, length: .max), "is above 100000000"),
        (safetensors(" {}", data: 0), "does not begin with '{'"),
        (safetensors("", data: 0), "does not begin with '{'"),
        (safetensors(#"{"a":"#, data: 0), "byte 13: the document ends early"),
        (safetensors("{}x", data: 0), "byte 10: there is more after"),
        (safetensors(Array("{\"".utf8) + [0xFF] + Array("\":1}".utf8), data: 0), "not UTF-8"),
        (safetensors("{}", data: 1), "1 bytes follow the last tensor"),
        (
            safetensors(
                #"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"#
                    + #""\u0061":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#,
                data: 8), "occurs twice"
        ),
        (safetensors(#"{"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#, data: 4), "occurs twice"),
        (safetensors(#"{"a":{"dtype":"F32","shape":[[[[1]]]],"data_offsets":[0,4]}}"#, data: 4), "nested deeper than 4"),
        (safetensors(#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[-4,0]}}"#, data: 4), "are not within"),
        (safetensors(#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0.5,4.5]}}"#, data: 4), "not two integers"),
        (
            safetensors(#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,18446744073709551616]}}"#, data: 4),
            "not two integers"
        ),
        (safetensors(#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,9223372036854775807]}}"#, data: 4), "are not within"),
        (safetensors(#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,0]}}"#, data: 4), "are not within"),
        (safetensors(#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#, data: 4), "are not within"),
        (
            safetensors(
                #"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]},"b":{"dtype":"F32","shape":[1],"data_offsets":[2,6]}}"#,
                data: 6), "overlaps"
        ),
        (safetensors(#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[4,8]}}"#, data: 8), "leaves 4 unused bytes"),
        (
            safetensors(#"{"a":{"dtype":"F32","shape":[4611686018427387904,4],"data_offsets":[0,0]}}"#, data: 0),
            "negative or too large"
        ),
        (
            safetensors(#"{"a":{"dtype":"F32","shape":[0,4611686018427387904,4],"data_offsets":[0,0]}}"#, data: 0),
            "negative or too large"
        ),
        (safetensors(#"{"a":{"dtype":"F32","shape":[-1,-1],"data_offsets":[0,4]}}"#, data: 4), "negative or too large"),
        (safetensors(#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,4]}}"#, data: 4), "needs 8 bytes"),
        (safetensors(#"{"a":{"dtype":"F31","shape":[1],"data_offsets":[0,4]}}"#, data: 4), "dtype \"F31\" is not supported"),
        (safetensors(#"{"a":{"shape":[1],"data_offsets":[0,4]}}"#, data: 4), "dtype is missing"),
        (safetensors(#"{"a":{"dtype":"F32","data_offsets":[0,4]}}"#, data: 4), "shape is missing"),
        (safetensors(#"{"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}}"#, data: 4), "shape is missing"),
        (safetensors(#"{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4],"x":1}}"#, data: 4), "unknown key \"x\""),
        (safetensors(#"{"a":7}"#, data: 0), "is not an object"),
        (safetensors(#"{"__metadata__":{"a":1}}"#, data: 0), "__metadata__.a: is not a string"),
        (safetensors(#"{"__metadata__":[]}"#, data: 0), "__metadata__: is not an object"),
    ])
    func `a malformed file is refused with exit code 65 and the reason`(bytes: [UInt8], reason: String) {
        #expect {
            try open(bytes)
        } throws: { error in
            let error = error as? FileError
            return error?.exitCode == .data && "\(error!)".contains(reason) && "\(error!)".contains("x.safetensors")
        }
    }

    @Test func `an empty header padded with blanks is a file without tensors`() throws {
        #expect(try open(safetensors("{}      ", data: 0)).names.isEmpty)
    }

    @Test func `a file that shrinks while it is open is an error, not a crash`() throws {
        let path = folder.file("t.safetensors")
        try SafetensorsFile.write([TensorSource("w", Tensor(zeros: [4096]))], to: path)
        let file = try SafetensorsFile(path)
        try truncate(path, to: 1000)
        #expect { try file.readFloat("w") } throws: { "\($0)".contains("although it was longer when opened") }
    }
}

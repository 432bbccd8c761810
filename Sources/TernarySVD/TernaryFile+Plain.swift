internal import HuggingFace
internal import TensorCore

extension TernaryFile {
    /// A layer of a file of version 3 or 4, whose factors are not coded.
    static func plainLayer(
        _ name: String, _ shape: (Int, Int, Int), tolerance: Float, form: String, in file: SafetensorsFile
    ) throws -> TernaryFactors {
        func refuse(_ problem: String) -> TernaryError { TernaryError(.data, "\(file.path): layer \(name): \(problem)") }
        let (m, k, n) = shape
        func packed(_ suffix: String, _ rows: Int, _ columns: Int) throws -> PackedTernary {
            let tensor = "\(name).\(suffix)"
            let info = try file.info(tensor)
            let (least, most) = (
                PackedTernary.maskBytes(rows: rows, columns: columns), PackedTernary.maximumBytes(rows: rows, columns: columns)
            )
            guard info.type == .u8, info.shape.count == 1, (least...most).contains(info.shape[0]) else {
                let expected = "U8 of \(least) to \(most) bytes for \(rows)×\(columns)"
                throw refuse("\(suffix) is \(info.type.rawValue) \(info.shape), not \(expected)")
            }
            guard let result = PackedTernary(bytes: try file.readBytes(tensor), rows: rows, columns: columns) else {
                throw refuse("\(suffix) has not one sign for each non-zero, or stray bits beyond the last; the file is damaged")
            }
            return result
        }
        func floats(_ suffix: String, _ count: Int) throws -> [Float] {
            let info = try file.info("\(name).\(suffix)")
            guard info.type == .f32, info.shape == [count] else {
                throw refuse("\(suffix) is \(info.type.rawValue) \(info.shape), not F32 [\(count)]")
            }
            return try file.readFloat("\(name).\(suffix)", finite: true).elements
        }
        var balance: Balance?
        if file.tensors["\(name).a"] != nil || file.tensors["\(name).b"] != nil {
            balance = try Balance(a: floats("a", m), b: floats("b", n))
        }
        let factors = try TernaryFactors(
            u: packed("u", m, k), s: floats("s", k), v: packed("v", k, n), balance: balance, tolerance: tolerance, form: form)
        let tensors = ["u", "s", "v"] + (balance == nil ? [] : ["a", "b"])
        try check(name, tensors.map { try file.readBytes("\(name).\($0)") }, in: file)
        return factors
    }
}

import Support
import Testing

private func parse(_ text: String, depth: Int = 64) throws -> JSONValue {
    try JSONValue(parsing: Array(text.utf8), depth: depth)
}

@Suite struct JSONTests {
    @Test func `values of every kind are read`() throws {
        let value = try parse(#" {"a": [1, -2.5, 1e2, true, false, null], "b": {"c": "x\n\u00e9\ud83d\ude00"}} "#)
        #expect(value["a"] == [1, -2.5, .double(100), true, false, nil])
        #expect(value["b"]?["c"]?.string == "x\n\u{e9}\u{1F600}")
        #expect(try parse("[]") == .array([]) && parse("{}") == .object(JSONObject()))
        #expect(try parse("-0").integer == 0 && parse("9223372036854775807").integer == Int.max)
    }

    @Test func `an integer beyond 64 bits is a double, so that it is no integer to anybody`() throws {
        #expect(try parse("9223372036854775808") == .double(9_223_372_036_854_775_808))
        #expect(try parse("1.0").integer == nil)
    }

    @Test(arguments: [
        ("", 0), ("{", 1), ("[1,]", 3), ("[1 2]", 3), (#"{"a":1,}"#, 7), (#"{"a" 1}"#, 5), ("{a:1}", 1), ("tru", 3), ("nul", 3),
        ("01", 1), ("1.", 2), (".5", 0), ("+1", 0), ("1e", 2), ("-", 1), ("NaN", 0), ("Infinity", 0), ("1e999", 0), ("1 1", 2),
        (#""a"#, 2), ("\"\u{1}\"", 1), (#""\x""#, 1), (#""\u12""#, 5), (#""\ud800""#, 1), (#""\udc00""#, 1),
        (#""\ud800\u0041""#, 1),
        (#"{"a":1,"a":2}"#, 7), (#"{"a":1,"\u0061":2}"#, 7), ("{}x", 2), ("[", 1), ("\u{FEFF}{}", 0),
    ])
    func `what is not JSON is refused, with the byte`(text: String, offset: Int) {
        #expect {
            try parse(text)
        } throws: { error in
            (error as? JSONError)?.offset == offset
        }
    }

    @Test func `text that is not UTF-8 is refused`() {
        for bytes: [UInt8] in [
            [0x22, 0xFF, 0x22], [0x22, 0xC0, 0x80, 0x22], [0x22, 0xED, 0xA0, 0x80, 0x22], [0x22, 0xE2, 0x82, 0x22],
        ] {
            #expect(throws: JSONError.self) { try JSONValue(parsing: bytes) }
        }
    }

    @Test func `nesting is bounded`() throws {
        #expect(try parse("[[[1]]]", depth: 3).array?.count == 1)
        #expect(throws: JSONError.self) { try parse("[[[1]]]", depth: 2) }
        #expect(throws: JSONError.self) { try parse(String(repeating: "[", count: 1_000_000)) }
    }

    /// "é" as one scalar and as two: Swift calls the strings equal, a vocabulary does not.
    @Test func `keys are compared by their bytes, in small objects and in large`() throws {
        for fill in [0, 40] {
            let others = (0..<fill).map { "\"k\($0)\":0," }.joined()
            let object = try #require(parse("{\(others)\"\u{e9}\":1,\"e\u{301}\":2}").object)
            #expect(object.count == fill + 2)
            #expect(object["\u{e9}"] == 1 && object["e\u{301}"] == 2 && object["e"] == nil)
        }
    }

    @Test func `a key that occurs twice is refused in a large object too`() {
        let others = (0..<40).map { "\"k\($0)\":0," }.joined()
        for key in ["k0", "k39", "\\u006b20"] {
            #expect(throws: JSONError.self) { try parse("{\(others)\"\(key)\":1}") }
        }
    }

    @Test func `a member can be changed, added and removed`() {
        var object = JSONObject()
        for index in 0..<30 { object["k\(index)"] = .integer(index) }
        object["k3"] = "three"
        object["k5"] = nil
        #expect(object.count == 29 && object["k3"] == "three" && object["k5"] == nil && object["k29"] == 29)
        #expect(object.keys.first == "k0")
    }

    @Test func `text that is written reads back, compact and indented`() throws {
        let value: JSONValue = [
            "b": [1, 2.5, 1e-7, 1e300, nil, true], "a": ["q\"\\\n\u{1}\u{1F600}": "", "empty": [], "none": [:]],
        ]
        #expect(try parse(value.text(.compact, sortedKeys: false)) == value)
        let keys = try parse(value.text()).object?.keys
        #expect(keys == ["a", "b"])
        let small: JSONValue = ["b": [1], "a": [:]]
        #expect(small.text() == "{\n  \"a\": {},\n  \"b\": [\n    1\n  ]\n}")
        #expect(JSONValue.double(.nan).text() == "null")
    }
}

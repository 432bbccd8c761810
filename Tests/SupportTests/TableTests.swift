import Testing

@testable import Support

@Suite struct TableTests {
    private func table(_ columns: [String], _ row: [String]) -> [Substring] {
        var table = Table(columns: columns)
        table.add(row)
        return table.text.split(separator: "\n")
    }

    @Test func `a narrow table keeps its heads whole`() {
        #expect(table(["a word", "number"], ["x", "1"]) == ["a word   number", "───────────────", "x             1"])
    }

    @Test func `where a table would be wider than a screen its heads are broken, and the numbers stay below them`() {
        let columns = [
            "layer of the model", "dense multiplications", "ternary multiplications", "ternary additions",
            "break-even components",
        ]
        let lines = table(columns, ["0.self_attn.q_proj", "16777216", "1024", "12345678", "900"])
        #expect(lines.allSatisfy { $0.count <= 80 && $0.last != " " })
        #expect(lines[1].hasSuffix("components") && lines.last?.hasSuffix(" 900") == true)
    }

    @Test func `a word with a soft hyphen is broken there where the table would be too wide`() {
        let head = "multipli\(Table.softHyphen)cations"
        #expect(table(["a", head], ["x", "1"]).first == "a   multiplications")
        let lines = table([String(repeating: "y", count: 66), head], ["x", "1"])
        #expect(lines[0].hasSuffix(" multipli-") && lines[1].hasSuffix("   cations") && lines.allSatisfy { $0.count <= 80 })
    }

    @Test func `text is broken at blanks, and words longer than a line stand alone`() {
        #expect("one two three".wrapped(width: 7, indent: 2) == ["one two", "  three"])
        #expect("a verylongword b".wrapped(width: 4, indent: 0) == ["a", "verylongword", "b"])
        #expect("".wrapped(indent: 0) == [""])
    }

    @Test(arguments: [
        (0, "0"), (0.0562, "0.0562"), (281.3473, "281.3473"), (1234.5, "1235"), (8.51854342773295e-06, "8.52e-6"),
        (-0.001, "-1.00e-3"),
        (9.9999e-5, "1.00e-4"), (2.5e12, "2.50e12"), (.infinity, "inf"),
    ])
    func `a number in a log has four digits or so`(_ number: Double, _ text: String) { #expect(number.short == text) }

    @Test(arguments: [(0, "0:00"), (65.4, "1:05"), (3599.6, "1:00:00"), (36_000, "10:00:00"), (.nan, "–"), (-1, "–")])
    func `seconds are shown as a clock does`(_ seconds: Double, _ text: String) { #expect(seconds.asClock == text) }

    @Test(arguments: [(0.00271, "0.003"), (0.6612, "0.66"), (22.41, "22.4"), (168.9, "169"), (7756.2, "7756")])
    func `three digits, and no more decimals than they need`(_ number: Double, _ text: String) {
        #expect(number.formatted(digits: 3) == text)
    }
}

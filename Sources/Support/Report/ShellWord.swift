extension String {
    /// The text as one word of a shell: between quotes where it would read more than the text.
    package var shellWord: String {
        let isPlain = utf8.allSatisfy { byte in
            (UInt8(ascii: "a")...UInt8(ascii: "z")).contains(byte) || (UInt8(ascii: "A")...UInt8(ascii: "Z")).contains(byte)
                || (UInt8(ascii: "0")...UInt8(ascii: "9")).contains(byte) || "/._-=:,+@%".utf8.contains(byte)
        }
        // By scalars: with an accent that follows it a quote is another character.
        let escaped = unicodeScalars.reduce(into: "") { $0 += $1 == "'" ? "'\\''" : String($1) }
        return isPlain && !isEmpty ? self : "'" + escaped + "'"
    }
}

internal import Support

extension String {
    /// Replaces a text wherever its scalars stand, marks that follow or not.
    func replacingScalars(_ text: String, with other: String) -> String {
        String(String.UnicodeScalarView(unicodeScalars.replacing(text.unicodeScalars, with: other.unicodeScalars)))
    }

    /// Without blanks at both ends.
    var trimmed: String {
        let front = unicodeScalars.drop { $0.isPythonSpace }
        let blanks = front.reversed().prefix { $0.isPythonSpace }.count
        return String(front.dropLast(blanks))
    }

    /// The text without the blanks at its end, and these.
    var splitOffBlanks: (text: String, blanks: String) {
        let count = unicodeScalars.reversed().prefix { $0.isPythonSpace }.count
        return (String(unicodeScalars.dropLast(count)), String(unicodeScalars.suffix(count)))
    }

    /// One more than the runs of blanks, as lm-eval counts words.
    var wordCount: Int {
        var (count, wasBlank) = (1, false)
        for scalar in unicodeScalars {
            if scalar.isPythonSpace && !wasBlank { count += 1 }
            wasBlank = scalar.isPythonSpace
        }
        return count
    }
}

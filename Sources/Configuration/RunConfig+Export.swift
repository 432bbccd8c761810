internal import Exports

/// In which forms the model of a job leaves, besides `model/`.
package struct ExportSettings: Sendable, Equatable {
    package var formats: ExportFormats

    init(_ key: Settings) {
        formats = key(
            "formats", ExportFormats.none,
            "rotate, train, ptq, qat, quantize: forms that the model also leaves in, below exports/, as the command export "
                + "writes them"
        )
    }
}

/// Names of forms, separated by commas.
package struct ExportFormats: SettingValue {
    package static let none = ExportFormats(names: [])
    package static let expectation = "none, or some of \(ModelWriters.formats.joined(separator: ", ")), separated by commas"
    package static let isText = true

    package let names: [String]

    private init(names: [String]) { self.names = names }

    package init?(settingText text: String) {
        guard text != "none" else {
            self = .none
            return
        }
        let names = text.split(separator: ",", omittingEmptySubsequences: false).map(String.init)
        guard Set(names).isSubset(of: ModelWriters.formats), Set(names).count == names.count else { return nil }
        self.names = names
    }

    package var settingText: String { names.isEmpty ? "none" : names.joined(separator: ",") }
}

package import Models

/// In which forms the model of a job leaves, besides `model/`.
package struct ExportSettings: Sendable, Equatable {
    package var formats: ExportFormats

    init(_ key: Settings) {
        formats = key(
            "formats", ExportFormats.none,
            "rotate, train, ptq, qat, quantize: formats that the model is also exported in, below exports/, as the command "
                + "export writes them"
        )
    }
}

/// Names of forms, separated by commas.
package struct ExportFormats: SettingValue {
    package static let none = ExportFormats(all: [])
    package static let expectation = "none, or some of \(ExportFormat.names), separated by commas"
    package static let isText = true

    package let all: [ExportFormat]

    private init(all: [ExportFormat]) { self.all = all }

    package init?(settingText text: String) {
        guard text != "none" else {
            self = .none
            return
        }
        let names = text.split(separator: ",", omittingEmptySubsequences: false)
        all = names.compactMap { ExportFormat(rawValue: String($0)) }
        guard Set(all).count == names.count else { return nil }
    }

    package var settingText: String { all.isEmpty ? "none" : all.map(\.rawValue).joined(separator: ",") }
}

@testable import Configuration

extension RunConfig {
    /// The configuration a YAML text gives, as a file of it would.
    init(yaml: String, assignments: [String] = []) throws {
        let document = try ConfigurationDocument(yaml, name: "configuration")
        let given = try SettingsRequest(assignments: assignments).given()
        try self.init(document.settings.merging(given) { $1 })
    }
}

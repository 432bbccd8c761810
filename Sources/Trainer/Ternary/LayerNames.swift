/// Layers' names without their common beginning, so that tables fit a screen.
struct LayerNames {
    /// The common beginning up to the layer's number, such as `model.layers`; empty where there is none.
    let place: String
    /// The head of their column.
    var head: String { place.isEmpty ? "layer" : "layer of \(place)" }

    init(_ names: some Sequence<String>) {
        let places = Set(names.map { $0.split(separator: ".").prefix { Int($0) == nil }.joined(separator: ".") })
        place = places.count == 1 ? places.first ?? "" : ""
    }

    func short(_ name: String) -> String { name.hasPrefix(place + ".") ? String(name.dropFirst(place.count + 1)) : name }
}

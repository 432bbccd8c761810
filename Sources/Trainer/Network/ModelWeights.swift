package import Models
package import TensorCore

/// A model's parameters, such as the float32 master weights in training, in the order in which a backward pass completes their
/// gradients: the head first, the embedding last.
package struct ModelWeights<Value: TensorValue> {
    package private(set) var tensors: [Value]
    package let names: [String]
    private let roles: [ParameterSpec.Role]
    /// The index of the tensor for each parameter of the model.
    private let places: Parameters<Int>

    package init(_ parameters: Parameters<Value>) {
        let named = parameters.named
        tensors = named.reversed().map(\.value)
        names = named.reversed().map(\.name)
        var roles: [ParameterSpec.Role] = []
        _ = parameters.mapSpecs { _, spec, _ in roles.append(spec.role) }
        self.roles = roles.reversed()
        var next = named.count
        places = parameters.map { _, _ in
            next -= 1
            return next
        }
    }

    package var count: Int { tensors.count }

    package subscript(index: Int) -> Value {
        get { tensors[index] }
        _modify { yield &tensors[index] }
    }

    /// The model's parameters, each made from its tensor.
    package func parameters<Made>(_ make: (_ index: Int, _ tensor: Value) -> Made) -> Parameters<Made> {
        places.map { _, index in make(index, tensors[index]) }
    }

    package var parameters: Parameters<Value> { parameters { _, tensor in tensor } }

    /// Whether weight decay applies to a parameter: only to matrices (not to norms and biases, as in the recipes of Loshchilov
    /// and Hutter and of the GPT families), and not to the embedding, whose rows for rare tokens would shrink without a
    /// gradient to counteract that.
    package func decays(_ index: Int) -> Bool {
        tensors[index].shape.count == 2 && roles[index] != .embedding && roles[index] != .positions
    }

    /// Whether a parameter is the weight of a linear layer (the head is not).
    package func isLinear(_ index: Int) -> Bool { if case .linear = roles[index] { true } else { false } }

    /// The table of tokens; nil where the stage has none.
    package var embedding: Int? { roles.firstIndex(of: .embedding) }
}

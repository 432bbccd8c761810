package import TensorCore

/// A tensor to be written: what the header needs, and how to get the elements when their turn comes, so that a model larger
/// than the memory left can be written one tensor at a time.
package struct TensorSource {
    /// The elements to be written: floats that are rounded to the type, integers, or bytes that are there already.
    package enum Content {
        case floats(Tensor)
        case integers([Int])
        case bytes([UInt8])
    }

    package let name: String
    package let type: ElementType
    package let shape: [Int]
    let content: () throws -> Content

    var byteCount: Int { shape.reduce(type.size, *) }

    /// - Parameter content: called once; must fit `type` (F32, F16 and BF16 take floats, integer types integers, all types
    ///   bytes) and `shape`.
    package init(_ name: String, _ type: ElementType, _ shape: [Int], content: @escaping () throws -> Content) {
        self.name = name
        self.type = type
        self.shape = shape
        self.content = content
    }

    /// A tensor in memory, rounded to `type`.
    package init(_ name: String, _ tensor: Tensor, as type: ElementType = .f32) {
        self.init(name, type, tensor.shape) { .floats(tensor) }
    }

    /// Integers in memory, in row-major order.
    package init(_ name: String, integers: [Int], _ shape: [Int], as type: ElementType = .i32) {
        self.init(name, type, shape) { .integers(integers) }
    }
}

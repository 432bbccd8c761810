package import TensorCore

/// Geometry of a two-dimensional convolution, height first.
package struct ConvolutionGeometry: Sendable, Equatable {
    /// What surrounds an image.
    package enum PaddingMode: String, Sendable {
        case zeros
        /// The image mirrored at its edge, which is not repeated.
        case reflect
        /// Its edge.
        case replicate
        /// The image again, as on a ring.
        case circular
    }

    package var stride = [1, 1], padding = [0, 0], dilation = [1, 1]
    /// Rows and columns added at the end of a transposed convolution's output.
    package var outputPadding = [0, 0]
    package var groups = 1
    package var paddingMode = PaddingMode.zeros

    package init() {}
}

/// A convolution in ternary form: conv(V), scale by s, conv(U), both with additions directly from the packed bits.
package struct TernaryConvolution: Sendable {
    package let geometry: ConvolutionGeometry
    package let form: ConvolutionForm
    package let isTransposed: Bool
    private let kernel: (Int, Int)
    /// Per group: the matrix of the first product, the scales, the matrix of the second product.
    private let stages: [(first: PackedTernary, s: [Float], second: PackedTernary)]
    private let bias: [Float]?

    /// - Parameters:
    ///   - u: `[G·O, k, a1, a2]`; for a transposed convolution O counts the inputs of a group.
    ///   - s: `[G·k]`.
    ///   - v: `[G·k, I, b1, b2]`.
    package init(
        u: Tensor, s: Tensor, v: Tensor, bias: Tensor?, _ form: ConvolutionForm, _ geometry: ConvolutionGeometry,
        transposed: Bool
    ) {
        let (g, k) = (geometry.groups, u.shape[1])
        precondition(v.shape[0] == g * k && s.count == g * k && u.shape[0] % g == 0, "factors \(u.shape) \(s.shape) \(v.shape)")
        (self.form, self.geometry, isTransposed) = (form, geometry, transposed)
        kernel = (max(u.shape[2], v.shape[2]), max(u.shape[3], v.shape[3]))
        self.bias = bias?.elements
        let (o, i) = (u.shape[0] / g, v.shape[1])
        stages = (0..<g).map { group in
            let left = u.reshaped([u.shape[0], u.count / u.shape[0]]).rows(group * o..<(group + 1) * o)
            let right = v.reshaped([g * k, v.count / (g * k)]).rows(group * k..<(group + 1) * k)
            let scales = Array(s.elements[group * k..<(group + 1) * k])
            if !transposed { return (PackedTernary(right), scales, PackedTernary(left)) }
            // The transposed layer runs in the other direction: inputs through Uᵀ to k·a values, and those through Vᵀ to O·b
            // values.
            return (
                PackedTernary(left.reshaped([o, left.count / o]).transposed()), scales,
                PackedTernary(right.reshaped([k, right.count / k]).transposed())
            )
        }
        precondition(transposed || i * v.shape[2] * v.shape[3] == stages[0].first.columns)
    }

    /// x `[B, C, H, W]` → `[B, C', H', W']`.
    package func apply(_ x: Tensor) -> Tensor {
        precondition(x.shape.count == 4, "an image batch, not \(x.shape)")
        return isTransposed ? applyTransposed(x) : applyForward(x)
    }

    /// Kernel, stride and dilation of U's convolution (`inU`) or of V's.
    private func geometry(inU: Bool) -> (kernel: [Int], stride: [Int], dilation: [Int]) {
        let axes = [form.axesInU.height == inU, form.axesInU.width == inU]
        let size = [kernel.0, kernel.1]
        return (
            (0..<2).map { axes[$0] ? size[$0] : 1 }, (0..<2).map { axes[$0] ? geometry.stride[$0] : 1 },
            (0..<2).map { axes[$0] ? geometry.dilation[$0] : 1 }
        )
    }

    private func applyForward(_ x: Tensor) -> Tensor {
        let padded = ImagePatches.pad(x, geometry.padding, geometry.paddingMode)
        let (first, second) = (geometry(inU: false), geometry(inU: true))
        var result: Tensor?
        let channels = x.shape[1] / geometry.groups
        for (group, stage) in stages.enumerated() {
            var (patches, size) = ImagePatches.gather(
                padded, channels: group * channels..<(group + 1) * channels, first.kernel, first.stride, first.dilation)
            let middle = ImagePatches.image(scaled(stage.first.apply(patches), stage.s), batch: x.shape[0], size)
            (patches, size) = ImagePatches.gather(
                middle, channels: 0..<stage.s.count, second.kernel, second.stride, second.dilation)
            let output = ImagePatches.image(stage.second.apply(patches), batch: x.shape[0], size)
            ImagePatches.place(output, group: group, of: geometry.groups, bias: bias, into: &result)
        }
        return result ?? Tensor(zeros: [0])
    }

    private func applyTransposed(_ x: Tensor) -> Tensor {
        let (first, second) = (geometry(inU: true), geometry(inU: false))
        var result: Tensor?
        let channels = x.shape[1] / geometry.groups
        for (group, stage) in stages.enumerated() {
            let (input, size) = ImagePatches.gather(
                x, channels: group * channels..<(group + 1) * channels, [1, 1], [1, 1], [1, 1])
            let middle = ImagePatches.scatter(
                stage.first.apply(input), channels: stage.s.count, batch: x.shape[0], size, first.kernel, first.stride,
                first.dilation)
            let (values, middleSize) = ImagePatches.gather(middle, channels: 0..<stage.s.count, [1, 1], [1, 1], [1, 1])
            let whole = ImagePatches.scatter(
                stage.second.apply(scaled(values, stage.s)),
                channels: stage.second.rows / (second.kernel[0] * second.kernel[1]),
                batch: x.shape[0], middleSize, second.kernel, second.stride, second.dilation)
            let cropped = ImagePatches.crop(whole, geometry.padding, geometry.outputPadding)
            ImagePatches.place(cropped, group: group, of: geometry.groups, bias: bias, into: &result)
        }
        return result ?? Tensor(zeros: [0])
    }

    /// Columns times s.
    private func scaled(_ x: Tensor, _ s: [Float]) -> Tensor {
        x.withElements { source in Tensor(source.indices.map { source[$0] * s[$0 % s.count] }, x.shape) }
    }
}

internal import TensorCore

/// Images `[B, C, H, W]` as rows of patches `[B·H'·W', C·k1·k2]`, and back.
enum ImagePatches {
    /// Each image with zeros, or the values that the mode takes from the image, around it.
    static func pad(_ x: Tensor, _ padding: [Int], _ mode: ConvolutionGeometry.PaddingMode) -> Tensor {
        let (h, w) = (x.shape[2], x.shape[3])
        let (p, q) = (padding[0], padding[1])
        guard p > 0 || q > 0 else { return x }
        precondition(p <= mode.most(h) && q <= mode.most(w), "\(mode) by \(padding) around an image of \([h, w])")
        var result = Tensor(zeros: [x.shape[0], x.shape[1], h + 2 * p, w + 2 * q])
        let (source, target) = (x.pointer, result.mutablePointer)
        for plane in 0..<x.shape[0] * x.shape[1] {
            for i in -p..<h + p {
                guard let row = mode.place(i, in: h) else { continue }
                for j in -q..<w + q {
                    guard let column = mode.place(j, in: w) else { continue }
                    target[(plane * (h + 2 * p) + i + p) * (w + 2 * q) + j + q] = source[(plane * h + row) * w + column]
                }
            }
        }
        return result
    }

    /// The patches of a range of channels, and the number of positions per axis.
    static func gather(
        _ x: Tensor, channels: Range<Int>, _ kernel: [Int], _ stride: [Int], _ dilation: [Int]
    ) -> (Tensor, size: [Int]) {
        let (h, w) = (x.shape[2], x.shape[3])
        func positions(_ length: Int, _ axis: Int) -> Int {
            let span = dilation[axis] * (kernel[axis] - 1) + 1
            return length < span ? 0 : (length - span) / stride[axis] + 1
        }
        let size = [positions(h, 0), positions(w, 1)]
        precondition(size[0] > 0 && size[1] > 0, "a kernel of \(kernel) does not fit an image of \([h, w])")
        var result = Tensor(uninitialized: [x.shape[0] * size[0] * size[1], channels.count * kernel[0] * kernel[1]])
        let (source, target) = (x.pointer, result.mutablePointer)
        var next = 0
        for b in 0..<x.shape[0] {
            for i in 0..<size[0] {
                for j in 0..<size[1] {
                    for c in channels {
                        for ki in 0..<kernel[0] {
                            let row = ((b * x.shape[1] + c) * h + i * stride[0] + ki * dilation[0]) * w + j * stride[1]
                            for kj in 0..<kernel[1] {
                                target[next] = source[row + kj * dilation[1]]
                                next += 1
                            }
                        }
                    }
                }
            }
        }
        return (result, size)
    }

    /// Rows of positions `[B·h·w, C]` as images `[B, C, h, w]`.
    static func image(_ rows: Tensor, batch: Int, _ size: [Int]) -> Tensor {
        scatter(rows, channels: rows.columns, batch: batch, size, [1, 1], [1, 1], [1, 1])
    }

    /// The adjoint of ``gather(_:channels:_:_:_:)``: patches `[B·h·w, C·k1·k2]` added where they lie, `[B, C, H, W]`.
    static func scatter(
        _ patches: Tensor, channels: Int, batch: Int, _ size: [Int], _ kernel: [Int], _ stride: [Int], _ dilation: [Int]
    ) -> Tensor {
        let (h, w) = (
            (size[0] - 1) * stride[0] + dilation[0] * (kernel[0] - 1) + 1,
            (size[1] - 1) * stride[1] + dilation[1] * (kernel[1] - 1) + 1
        )
        var result = Tensor(zeros: [batch, channels, h, w])
        let (source, target) = (patches.pointer, result.mutablePointer)
        var next = 0
        for b in 0..<batch {
            for i in 0..<size[0] {
                for j in 0..<size[1] {
                    for c in 0..<channels {
                        for ki in 0..<kernel[0] {
                            let row = ((b * channels + c) * h + i * stride[0] + ki * dilation[0]) * w + j * stride[1]
                            for kj in 0..<kernel[1] {
                                target[row + kj * dilation[1]] += source[next]
                                next += 1
                            }
                        }
                    }
                }
            }
        }
        return result
    }

    /// Removes `padding` from every side, then adds `extra` rows and columns at the end: those of the original image there, or
    /// zeros beyond it.
    static func crop(_ x: Tensor, _ padding: [Int], _ extra: [Int]) -> Tensor {
        let (h, w) = (x.shape[2], x.shape[3])
        let size = [h - 2 * padding[0] + extra[0], w - 2 * padding[1] + extra[1]]
        var result = Tensor(zeros: [x.shape[0], x.shape[1]] + size)
        let (source, target) = (x.pointer, result.mutablePointer)
        for plane in 0..<x.shape[0] * x.shape[1] {
            for i in 0..<min(size[0], h - padding[0]) {
                for j in 0..<min(size[1], w - padding[1]) {
                    target[(plane * size[0] + i) * size[1] + j] = source[(plane * h + i + padding[0]) * w + j + padding[1]]
                }
            }
        }
        return result
    }

    /// Writes a group's images into its channels of the result, bias added.
    static func place(_ images: Tensor, group: Int, of groups: Int, bias: [Float]?, into result: inout Tensor?) {
        let (batch, c, area) = (images.shape[0], images.shape[1], images.shape[2] * images.shape[3])
        var whole = result ?? Tensor(zeros: [batch, c * groups, images.shape[2], images.shape[3]])
        result = nil
        let (source, target) = (images.pointer, whole.mutablePointer)
        for b in 0..<batch {
            for channel in 0..<c {
                let offset = bias?[group * c + channel] ?? 0
                let (from, to) = ((b * c + channel) * area, (b * c * groups + group * c + channel) * area)
                for e in 0..<area { target[to + e] = source[from + e] + offset }
            }
        }
        result = whole
    }
}

extension ConvolutionGeometry.PaddingMode {
    /// Rows or columns that can be added at either end of n.
    fileprivate func most(_ n: Int) -> Int {
        switch self {
        case .zeros, .replicate: n > 0 ? .max : 0
        case .reflect: n - 1
        case .circular: n
        }
    }

    /// The row or column of n that is at place i, counted from the image's first; nil for a zero.
    fileprivate func place(_ i: Int, in n: Int) -> Int? {
        if (0..<n).contains(i) { return i }
        return switch self {
        case .zeros: nil
        case .reflect: i < 0 ? -i : 2 * (n - 1) - i
        case .replicate: i < 0 ? 0 : n - 1
        case .circular: i < 0 ? i + n : i - n
        }
    }
}

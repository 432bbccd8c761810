internal import TensorCore

extension QuantizedWeight {
    /// ŵ where the columns of a group are not neighbors; `columnGroups` has the group of each.
    func dequantized(columnGroups: [Int32]) -> Tensor {
        let (columns, codes) = (shape[1], codes)
        let perRow = scales.count / max(1, shape[0])
        var result = Tensor(uninitialized: shape)
        let (target, scales, zeros) = (result.mutablePointer, scales.pointer, zeros.pointer)
        for row in 0..<shape[0] {
            for column in 0..<columns {
                let (index, group) = (row * columns + column, row * perRow + Int(columnGroups[column]))
                target[index] = (Float(codes[index]) - zeros[group]) * scales[group]
            }
        }
        return result
    }
}

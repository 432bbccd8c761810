internal import CKernels
internal import LinearAlgebra
internal import TensorCore

/// A weight in integers for products with floats. ŵ = (code − zero)·scale is computed in registers, so that a product with one
/// token reads only the codes, of 4 or 8 bits each.
///
/// With q the stored codes, from 0 on, and X_g = Σ_{c in g} x_c, over the groups g of a row r,
///
///     y_r = Σ_g s_rg·(Σ_{c in g} q_rc·x_c − z_rg·X_g)
///
/// which is x·ŵᵀ with its sums in another order.
package struct CodeMatrix: RowMatrix {
    package let shape: [Int]
    /// 4 or 8.
    private let bits: Int
    private let group: Int
    private let codes: ByteStorage
    private let scales: Tensor
    private let zeros: Tensor

    /// Columns that the kernels read together; each group is a multiple of these.
    private static let run = 32

    /// - Returns: nil where the kernels do not support the weight: more than 8 bits, scales by column, groups whose columns are
    ///   not neighbors or whose size is not a multiple of 32.
    package init?(_ weight: QuantizedWeight) {
        let (rows, columns) = (weight.shape[0], weight.shape[1])
        let perRow = weight.scales.count == 1 ? 1 : weight.scales.count / max(1, rows)
        guard weight.spec.bits <= 8, weight.spec.granularity != .column, weight.columnGroups == nil, rows > 0, columns > 0,
            columns % perRow == 0, columns / perRow % Self.run == 0
        else { return nil }
        shape = weight.shape
        bits = weight.spec.bits <= 4 ? 4 : 8
        group = columns / perRow
        // A scale of the whole tensor is repeated for each row.
        let offset = weight.spec.symmetric ? 1 << (weight.spec.bits - 1) : 0
        func byRow(_ values: Tensor, plus: Float) -> Tensor {
            let isOne = values.count == 1
            return Tensor((0..<rows * perRow).map { values[flat: isOne ? 0 : $0] + plus }, [rows, perRow])
        }
        scales = byRow(weight.scales, plus: 0)
        zeros = byRow(weight.zeros, plus: Float(offset))
        let bytes = ck_code_row_bytes(Int32(bits), columns)
        codes = ByteStorage(uninitialized: rows * bytes)
        var all = weight.codes
        for index in all.indices { all[index] += Int16(offset) }
        let target = codes.pointer.assumingMemoryBound(to: UInt8.self)
        all.withUnsafeBufferPointer { source in
            guard let base = source.baseAddress else { return }
            for row in 0..<rows { ck_codes_store(Int32(bits), columns, base + row * columns, target + row * bytes) }
        }
    }

    package var byteCount: Int { codes.count + 4 * (scales.count + zeros.count) }

    private var kernel: ck_code_matrix {
        ck_code_matrix(
            bits: Int32(bits), columns: shape[1], group: group,
            codes: UnsafePointer(codes.pointer.assumingMemoryBound(to: UInt8.self)), scales: scales.pointer,
            zeros: zeros.pointer)
    }

    /// The rows in `rows` as float32.
    package func widen(_ rows: Range<Int>, into target: UnsafeMutablePointer<Float>) {
        var kernel = kernel
        ck_codes_widen(&kernel, rows.lowerBound, rows.upperBound, target)
    }

    /// y ← rows of W·x, straight from the codes.
    package func multiply(_ x: UnsafePointer<Float>, _ rows: Range<Int>, into y: UnsafeMutablePointer<Float>) {
        var kernel = kernel
        withUnsafeTemporaryAllocation(of: Float.self, capacity: shape[1] / group) { sums in
            guard let sums = sums.baseAddress else { return }
            ck_codes_vector(&kernel, rows.lowerBound, rows.upperBound, x, sums, y)
        }
    }
}

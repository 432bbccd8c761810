internal import CKernels
internal import TensorCore

extension Tape {
    /// a + b, of the same shape.
    package func add(_ a: Variable, _ b: Variable) -> Variable {
        let (da, db) = (a.sink, b.sink)
        return record(a.value + b.value, from: [a, b]) { dy in
            da.add(dy)
            db.add(dy)
        }
    }

    /// silu(gate)∘up with silu(g) = g/(1 + e^−g) (Shazeer, arXiv 2002.05202).
    package func swiGLU(gate: Variable, up: Variable) -> Variable {
        var y = Tensor(uninitialized: gate.value.shape)
        let (g, u, out) = (gate.value.pointer, up.value.pointer, y.mutablePointer)
        Team.shareElements(y.count) { ck_swiglu(g + $0.lowerBound, u + $0.lowerBound, out + $0.lowerBound, $0.count) }
        return record(y, from: [gate, up]) { dy in
            var dGate = Tensor(uninitialized: dy.shape)
            var dUp = Tensor(uninitialized: dy.shape)
            let (d, g, u, dg, du) = (
                dy.pointer, gate.value.pointer, up.value.pointer, dGate.mutablePointer, dUp.mutablePointer
            )
            Team.shareElements(dy.count) {
                let i = $0.lowerBound
                ck_swiglu_backward(d + i, g + i, u + i, dg + i, du + i, $0.count)
            }
            gate.sink.add(dGate)
            up.sink.add(dUp)
        }
    }

    /// max(x, 0).
    package func relu(_ x: Variable) -> Variable {
        var y = Tensor(uninitialized: x.value.shape)
        let (source, target) = (x.value.pointer, y.mutablePointer)
        Team.shareElements(y.count) { ck_relu(source + $0.lowerBound, target + $0.lowerBound, $0.count) }
        let dx = x.sink
        return record(y, from: [x]) { [y] dy in
            var slope = Tensor(uninitialized: dy.shape)
            let (d, output, target) = (dy.pointer, y.pointer, slope.mutablePointer)
            Team.shareElements(dy.count) {
                ck_relu_backward(d + $0.lowerBound, output + $0.lowerBound, target + $0.lowerBound, $0.count)
            }
            dx.add(slope)
        }
    }
}

internal import CKernels
package import TensorCore

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
        ck_swiglu(gate.value.pointer, up.value.pointer, y.mutablePointer, y.count)
        return record(y, from: [gate, up]) { dy in
            var dGate = Tensor(uninitialized: dy.shape)
            var dUp = Tensor(uninitialized: dy.shape)
            ck_swiglu_backward(
                dy.pointer, gate.value.pointer, up.value.pointer, dGate.mutablePointer, dUp.mutablePointer, dy.count)
            gate.sink.add(dGate)
            up.sink.add(dUp)
        }
    }

    /// max(x, 0).
    package func relu(_ x: Variable) -> Variable {
        var y = Tensor(uninitialized: x.value.shape)
        ck_relu(x.value.pointer, y.mutablePointer, y.count)
        let dx = x.sink
        return record(y, from: [x]) { [y] dy in
            var slope = Tensor(uninitialized: dy.shape)
            ck_relu_backward(dy.pointer, y.pointer, slope.mutablePointer, dy.count)
            dx.add(slope)
        }
    }

    /// x itself, with `observer` shown ∂loss/∂x in the backward pass.
    package func observe(_ x: Variable, _ observer: @escaping (_ gradient: Tensor) -> Void) -> Variable {
        let dx = x.sink
        return record(x.value, from: [x]) { dy in
            observer(dy)
            dx.add(dy)
        }
    }
}

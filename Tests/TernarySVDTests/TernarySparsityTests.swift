import HuggingFace
import LinearAlgebra
import Quantization
import Support
import TensorCore
import TestSupport
import Testing

@testable import TernarySVD

/// `ternary.sparsity=2:4`: of four neighbors at most two are not 0.
@Suite struct TernarySparsityTests {
    private func weight(_ m: Int, _ n: Int, seed: UInt64 = 3) -> Tensor {
        var random = RandomStream(seed: seed)
        return Tensor(normal: [m, n], from: &random)
    }

    private func options(_ tolerance: Float = 0.2, balance: Bool = true) -> TernaryOptions {
        var options = TernaryOptions(tolerance: tolerance)
        (options.sparsity, options.balance, options.economy) = (.twoOfFour, balance, !balance)
        return options
    }

    /// Of the sparsest form that a fifth of non-zeros gives by chance.
    private func factors(_ m: Int, _ k: Int, _ n: Int, seed: UInt64 = 5) -> TernaryFactors {
        var random = RandomStream(seed: seed)
        func factor(_ rows: Int, _ columns: Int) -> Tensor {
            var result = Tensor(zeros: [rows, columns])
            for row in 0..<rows {
                for first in stride(from: 0, to: columns, by: 4) {
                    for _ in 0..<2 where random.next() % 2 == 0 {
                        let column = first + Int(random.next() % 4)
                        if column < columns { result[row, column] = random.next() % 2 == 0 ? 1 : -1 }
                    }
                }
            }
            return result
        }
        return TernaryFactors(
            u: PackedTernary(factor(m, k)), s: (0..<k).map { Float($0) + 1 }, v: PackedTernary(factor(k, n)), tolerance: 0.1,
            sparsity: .twoOfFour)
    }

    @Test func `neighbors are four from a row's beginning, and what is left at its end`() {
        func holds(_ row: [Float]) -> Bool { TernarySparsity.twoOfFour.holds(Tensor(row, [1, row.count])) }
        #expect(holds([1, -1, 0, 0, 1, 1]) && holds([0, 0, 1, 1, 1, 1, 0, 0]) && holds([1, 1]))
        #expect(!holds([1, 0, 1, 1]) && !holds([0, 0, 0, 0, 1, 1, 1]) && !holds([1, 1, 1]))
        #expect(!TernarySparsity.twoOfFour.holds(Tensor([0, 0, 0, 0, 1, 1, 1, 0], [2, 4])))
        #expect(TernarySparsity.none.holds(Tensor([1, 1, 1], [1, 3])) && holds([]))
    }

    @Test func `every number has digits of powers of 2, no two neighbors of which are not 0`() {
        for number in -9841...9841 {
            var (rest, sum, power, count, last) = (number, 0, 1, 0, 0)
            while rest != 0 {
                let digit = DigitColumns.lowestBinaryDigit(of: rest)
                #expect(abs(digit) <= 1 && (digit == 0 || last == 0))
                (sum, power, rest, count, last) = (sum + digit * power, power * 2, (rest - digit) / 2, count + 1, digit)
            }
            #expect(sum == number && count <= 15)
        }
    }

    @Test(arguments: [0.01, 0.1, 0.3])
    func `digits under 2:4 are of the same numbers, and fewer of them are not 0`(epsilon: Double) throws {
        let (m, n) = (48, 40)
        let statistics = InputStatistics(width: n, depth: .secondMoment)
        statistics.add(matmul(weight(600, n), .asStored, weight(n, n, seed: 4)))
        let (w, norm) = (weight(m, n), try DigitNorm(statistics))
        let dense = try TernaryDigits(w, norm, .both).factors(epsilon: epsilon)
        let sparse = try TernaryDigits(w, norm, .both, sparsity: .twoOfFour).factors(epsilon: epsilon)
        let factors = sparse.factors
        #expect(factors.sparsity == .twoOfFour && TernarySparsity.twoOfFour.holds(factors))
        #expect(factors.unpacked().elements == dense.factors.unpacked().elements)
        #expect(sparse.relativeError == dense.relativeError && factors.u.nonzeros < dense.factors.u.nonzeros)
        #expect(factors.s.allSatisfy { $0.significand == 1 && $0 >= 1 } && factors.v.nonzeros == factors.componentCount)
        let bytes = [dense.factors, factors].map { Double(TernaryCode.encode($0).count) }
        #expect(bytes[1] < 1.03 * bytes[0], "\(bytes)")
    }

    /// A component that is dropped would give all after it other neighbors, and their entries would have to go.
    @Test func `training keeps digits under 2:4 in their places`() throws {
        var random = RandomStream(seed: 9)
        let (m, n) = (48, 40)
        let statistics = InputStatistics(width: n, depth: .secondMoment)
        statistics.add(weight(600, n))
        let w = weight(m, n)
        let factors = try TernaryDigits(w, DigitNorm(statistics), .both, sparsity: .twoOfFour).factors(epsilon: 0.2).factors
        let empty = (0..<factors.componentCount).filter { j in (0..<m).allSatisfy { factors.u.unpacked[$0, j] == 0 } }
        #expect(!empty.isEmpty, "columns whose digits are odd in number are what this is about")
        let transition = try LayerTransition(options(), pruneRate: 0)
        var state = try transition.begun(w, with: LayerTransition.begin(with: factors))
        let before = state.rest.squaredNorm
        var adaptation = Adaptation(budget: factors.u.nonzeros + factors.v.nonzeros)
        for _ in 0..<3 {
            state.weight.add(Tensor(normal: [m, n], deviation: 0.01, from: &random))
            state = transition.applied(try transition.adapt(state, &adaptation), to: state)
            #expect(state.s.count == factors.componentCount)
            #expect(TernarySparsity.twoOfFour.holds(state.u) && TernarySparsity.twoOfFour.holds(state.v))
            #expect(state.rest.squaredNorm < 1.2 * before, "\(state.rest.squaredNorm) \(before)")
        }
    }

    @Test(arguments: [[40, 56], [56, 40], [9, 70], [33, 33]], [true, false])
    func `a decomposition keeps to 2:4 and to its tolerance`(shape: [Int], balance: Bool) throws {
        let w = weight(shape[0], shape[1])
        let options = options(balance: balance)
        let (result, dense) = try decomposed(w, options)
        #expect(!TernarySparsity.twoOfFour.holds(dense.u) || !TernarySparsity.twoOfFour.holds(dense.v))
        #expect(Double(result.nonzeros) < 1.15 * Double(dense.nonzeros), "\(result.nonzeros) for \(dense.nonzeros)")
        // What was given need not keep to it.
        for economy in [true, false] {
            var options = options
            options.economy = economy
            let warm = try TernaryDecomposition(w, options, start: (dense.u, dense.v))
            #expect(TernarySparsity.twoOfFour.holds(warm.u) && TernarySparsity.twoOfFour.holds(warm.v))
            #expect(warm.relativeError < options.tolerance)
            #expect(Double(warm.nonzeros) < 1.4 * Double(result.nonzeros), "\(warm.nonzeros) for \(result.nonzeros)")
        }
    }

    /// Two of four neighbors may have an entry in the row, and each pair that is found has one.
    @Test(arguments: [[64, 64], [128, 256], [256, 64]], [10, 100] as [Float])
    func `a row that owns the residual gets places for its entries`(shape: [Int], factor: Float) throws {
        var w = weight(shape[0], shape[1], seed: 1)
        for j in 0..<shape[1] { w.mutablePointer[j] *= factor }
        try keepsWithin(options(0.1, balance: false), w)
    }

    @Test(arguments: [[2, 256], [2, 9], [3, 12], [3, 40], [4, 10]])
    func `a few rows get places for their entries`(shape: [Int]) throws {
        for seed in 0..<16 as Range<UInt64> { try keepsWithin(options(0.1), weight(shape[0], shape[1], seed: seed)) }
    }

    /// Of a pair that is priced before it is thinned out next to nothing is worth its price afterwards.
    @Test(arguments: [1, 2]) func `a matrix of hardly any rank gets places for its entries`(rank: Int) throws {
        for seed in 0..<4 as Range<UInt64> {
            let w = matmul(weight(96, rank, seed: seed), .asStored, weight(rank, 48, seed: seed + 10))
            for balance in [true, false] { _ = try decomposed(w, options(0.3, balance: balance)) }
        }
    }

    /// With 2:4, which it has to keep to, and its tolerance; and without.
    private func decomposed(
        _ w: Tensor, _ options: TernaryOptions
    ) throws -> (result: TernaryDecomposition, dense: TernaryDecomposition) {
        let result = try TernaryDecomposition(w, options)
        #expect(TernarySparsity.twoOfFour.holds(result.u) && TernarySparsity.twoOfFour.holds(result.v))
        #expect(result.relativeError < options.tolerance)
        var free = options
        free.sparsity = .none
        return (result, try TernaryDecomposition(w, free))
    }

    private func keepsWithin(_ options: TernaryOptions, _ w: Tensor) throws {
        let (result, dense) = try decomposed(w, options)
        #expect(result.nonzeros <= dense.nonzeros * 5 / 4 + 8, "\(result.nonzeros) for \(dense.nonzeros)")
        #expect(result.componentCount <= 2 * dense.componentCount + 2, "\(result.componentCount) for \(dense.componentCount)")
    }

    @Test func `places without entries stay where others would lose their neighbors`() {
        func components(_ present: [Int]) -> Components {
            var result = Components(m: 1, n: 2)
            result.append(u: present.map { $0 > 0 ? 1 : 0 }, v: present.flatMap { $0 > 1 ? [1, -1] as [Float] : [0, 0] })
            return result
        }
        // 2: alive, 1: with an entry in U alone, 0: zeros.
        var several = components([2, 1, 0, 2, 0, 0, 1, 0, 0, 2, 0, 1])
        let has = several.dropEmpty(neighbors: 4)
        #expect(has && several.ut == [1, 0, 0, 1, 0, 1] && several.count == 6 && several.s.count == 6)
        let again = several.dropEmpty(neighbors: 4)
        #expect(!again && several.count == 6)
        var none = components([0, 1, 0])
        _ = none.dropEmpty(neighbors: 4)
        #expect(none.count == 0)
    }

    /// Such a start needs no round that would bring it to 2:4 and tell a price.
    @Test func `a start within the tolerance is brought to 2:4, and what it has too much is taken`() throws {
        let w = weight(40, 56)
        var free = options(0.1)
        free.sparsity = .none
        for (startOptions, most) in [(free, 1.1), (options(0.1), 0.9)] {
            let start = try TernaryDecomposition(w, startOptions)
            let result = try TernaryDecomposition(w, options(0.3), start: (start.u, start.v))
            #expect(TernarySparsity.twoOfFour.holds(result.u) && TernarySparsity.twoOfFour.holds(result.v))
            #expect(result.relativeError < 0.3)
            #expect(Double(result.nonzeros) < most * Double(start.nonzeros), "\(result.nonzeros) of \(start.nonzeros)")
            let nothing = try TernaryDecomposition(Tensor(zeros: w.shape), options(balance: false), start: (start.u, start.v))
            #expect(TernarySparsity.twoOfFour.holds(nothing.u) && TernarySparsity.twoOfFour.holds(nothing.v))
        }
    }

    @Test(arguments: [0.1, 0.3] as [Float])
    func `training that drops weak components of factors made without 2:4 keeps its tolerance`(tolerance: Float) throws {
        var random = RandomStream(seed: 12)
        let w = weight(40, 56)
        var free = options(0.05, balance: false)
        free.sparsity = .none
        var state = try LayerTransition(free, pruneRate: 0).begun(w)
        state.weight.add(Tensor(normal: [40, 56], deviation: 0.002, from: &random))
        // From which rate on some are weak depends on the last digits, and so on the processor.
        let updates = try [1, 1.5, 2, 3, 5].map { rate in
            try LayerTransition(options(tolerance, balance: false), pruneRate: rate).update(state)
        }
        let update = try #require(updates.first { $0.branch == .prune })
        let target = state.weight + state.rest
        state = try LayerTransition(options(tolerance, balance: false), pruneRate: 1).applied(update, to: state)
        #expect(TernarySparsity.twoOfFour.holds(state.u) && TernarySparsity.twoOfFour.holds(state.v))
        #expect(try state.rest.spectralNorm() < 1.001 * tolerance * target.spectralNorm())
    }

    @Test func `what cannot keep to 2:4 is refused`() {
        var settings = options()
        settings.mode = .reference
        #expect { try settings.validate() } throws: { "\($0)".contains("ternary.sparsity") }
        (settings.mode, settings.refinement) = (.default, false)
        #expect { try settings.validate() } throws: { "\($0)".contains("ternary.sparsity") }
    }

    @Test func `training keeps to 2:4, components in their places`() throws {
        var random = RandomStream(seed: 8)
        let w = weight(40, 56)
        let transition = try LayerTransition(options(), pruneRate: 0)
        let first = try transition.begin(w)
        var state = try transition.begun(w, with: first)
        var adaptation = Adaptation(budget: first.newU.nonzeroCount + first.newV.nonzeroCount)
        for _ in 0..<4 {
            state.weight.add(Tensor(normal: [40, 56], deviation: 0.1, from: &random))
            let update = try transition.adapt(state, &adaptation)
            let before = state
            state = transition.applied(update, to: state)
            #expect(TernarySparsity.twoOfFour.holds(state.u) && TernarySparsity.twoOfFour.holds(state.v))
            #expect(state.u.elements != before.u.elements)
        }
        // Factors that others have made without it are brought to it.
        var free = options()
        free.sparsity = .none
        state = try LayerTransition(free, pruneRate: 0).begun(w)
        #expect(!TernarySparsity.twoOfFour.holds(state.u))
        state = transition.applied(try transition.adapt(state, &adaptation), to: state)
        #expect(TernarySparsity.twoOfFour.holds(state.u) && TernarySparsity.twoOfFour.holds(state.v))
    }

    @Test(arguments: [TernaryWeighting.inputs, .both])
    func `the descent on outputs never leaves 2:4, and ends near where it would without`(weighting: TernaryWeighting) throws {
        let (m, n) = (40, 56)
        let inputs = matmul(weight(4 * n, n, seed: 6), .asStored, weight(n, n, seed: 7))
        var moment = matmul(inputs, .transposed, inputs)
        moment.scale(by: 0.001 / Float(inputs.rows))
        for j in 0..<n { moment.mutablePointer[j * (n + 1)] += 0.05 }
        let (w, norm) = (weight(m, n), OutputNorm(inputs: moment))
        var free = options(0.25)
        free.sparsity = .none
        let dense = try TernaryDecomposition(w, free)
        var (descent, plain) = (
            WeightedDescent(w, dense, norm, weighting, sparsity: .twoOfFour), WeightedDescent(w, dense, norm, weighting)
        )
        var last = Double.infinity
        for round in 0..<5 {
            try descent.run(rounds: 1)
            try plain.run(rounds: 1)
            let result = descent.decomposition()
            #expect(TernarySparsity.twoOfFour.holds(result.u) && TernarySparsity.twoOfFour.holds(result.v))
            if round > 0 { #expect(descent.objective <= last * (1 + 1e-6)) }
            last = descent.objective
        }
        #expect(last < 1.6 * plain.objective, "\(last) for \(plain.objective)")
    }
}

// MARK: - The form in files

extension TernarySparsityTests {
    @Test(arguments: [[1, 1, 1], [1, 0, 3], [7, 9, 5], [64, 40, 33], [3, 200, 8]])
    func `sparse factors are read back bit for bit, and take less than others`(shape: [Int]) throws {
        let own = factors(shape[0], shape[1], shape[2])
        let code = TernaryCode.encode(own)
        func decoded(_ bytes: [UInt8]) throws -> TernaryFactors {
            try TernaryCode.decode(
                bytes, rows: shape[0], componentCount: shape[1], columns: shape[2], tolerance: 0.1, form: "linear",
                sparsity: .twoOfFour)
        }
        let again = try decoded(code)
        #expect(again.u == own.u && again.v == own.v && again.s == own.s && again.sparsity == .twoOfFour)
        let dense = TernaryCode.encode(TernaryFactors(u: own.u, s: own.s, v: own.v, tolerance: 0.1))
        if shape[0] == 64 { #expect(code.count < dense.count) }
        for length in 0..<code.count { #expect(throws: TernaryCode.Malformed.self) { try decoded(Array(code.prefix(length))) } }
        #expect(throws: TernaryCode.Malformed.self) { try decoded(code + [0]) }
        // Whatever the bytes say, it is sparse.
        var (random, read) = (RandomStream(seed: 9), 0)
        for _ in 0..<500 {
            var bytes = code
            bytes[Int(random.next() % UInt64(bytes.count))] = UInt8(truncatingIfNeeded: random.next())
            do {
                let other = try decoded(bytes)
                read += 1
                #expect(TernarySparsity.twoOfFour.holds(other))
            } catch is TernaryCode.Malformed {
                continue
            }
        }
        #expect(read > 0)
    }

    @Test func `a file says which layers are sparse, and one that says it of others is refused`() throws {
        let folder = try TemporaryFolder()
        let path = folder.path + "/ternary.safetensors"
        let sparse = factors(24, 16, 20)
        var random = RandomStream(seed: 2)
        func dense(_ m: Int, _ n: Int) -> PackedTernary {
            PackedTernary(Tensor((0..<m * n).map { _ in random.next() % 4 == 0 ? 0 : 1 }, [m, n]))
        }
        let other = TernaryFactors(u: dense(24, 16), s: sparse.s, v: dense(16, 20), tolerance: 0.1)
        #expect(!TernarySparsity.twoOfFour.holds(other))
        try TernaryFile.write(["dense": other], to: path)
        #expect(try SafetensorsFile(path).metadata["version"] == "5")
        try TernaryFile.write(["dense": other, "l": sparse], to: path)
        let read = try TernaryFile.read(path)
        #expect(try SafetensorsFile(path).metadata["version"] == "6")
        #expect(read["dense"]?.sparsity == TernarySparsity.none && read["l"]?.sparsity == .twoOfFour)
        #expect(read["l"]?.u == sparse.u && read["l"]?.v == sparse.v && read["dense"]?.u == other.u)
        // Digests of all that follows are right.
        func refused(_ code: [UInt8], _ version: String, _ sparsity: String?, _ more: [String: String] = [:]) throws -> Bool {
            var metadata = ["format": "sq-train.ternary", "version": version, "l.shape": "24,16,20", "l.form": "linear"]
            (metadata["l.tolerance"], metadata["l.sparsity"]) = ("0.1", sparsity)
            metadata.merge(more) { $1 }
            metadata["l.sha256"] = TernaryFile.digest(["24,16,20", "linear", "0.1"] + [sparsity].compactMap(\.self), [code])
            metadata["metadata_sha256"] = TernaryFile.seal(metadata)
            let source = TensorSource("l.code", .u8, [code.count]) { .bytes(code) }
            try SafetensorsFile.write([source], to: path, metadata: metadata)
            do { _ = try TernaryFile.read(path) } catch {
                return (error as? any ReportableError)?.exitCode == .data && "\(error)".contains(path)
            }
            return false
        }
        let (own, others) = (TernaryCode.encode(sparse), TernaryCode.encode(other))
        #expect(try !refused(own, "6", "2:4") && !refused(others, "5", nil))
        #expect(try refused(others, "6", nil), "a version for sparse layers, without any")
        for remark in TernaryFile.Remark.allCases {
            #expect(try !refused(own, "6", "2:4", [remark.rawValue: "x"]), "\(remark)")
        }
        for key in ["note", "l.note", "other.form", "shape"] {
            #expect(try refused(own, "6", "2:4", [key: "x"]) && refused(others, "5", nil, [key: "x"]), "\(key)")
        }
        #expect(try refused(others, "6", "2:4"), "factors that are not sparse")
        for (version, sparsity) in [("5", "2:4"), ("6", "1:4"), ("6", "none"), ("7", "2:4")] {
            #expect(try refused(own, version, sparsity), "\(version), \(sparsity)")
        }
        #expect(try refused(own, "6", nil))
    }
}

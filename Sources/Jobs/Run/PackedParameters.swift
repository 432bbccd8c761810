internal import Collectives
internal import Compression
internal import Configuration
internal import HuggingFace
internal import Models
internal import Parallelism
internal import Quantization
internal import Rotation
internal import Support
internal import TensorCore
internal import TernarySVD

extension Parameters where Value: TensorValue {
    /// The parameters, all as floats.
    var dense: Parameters<CompressedValue> { map { _, value in .dense(value.stored) } }

    /// The parameters with these linears as factors.
    func packed(_ factors: [String: TernaryFactors]) -> Parameters<CompressedValue> {
        map { name, value in
            factors[String(name.dropLast(".weight".count))].map(CompressedValue.ternary) ?? .dense(value.stored)
        }
    }

    /// The parameters with linears as integers, where the plan rounds them.
    func packed(_ plan: WeightPlan) -> Parameters<CompressedValue> {
        map { name, value in
            plan[String(name.dropLast(".weight".count))].map { .integer($0.quantized(value.tensor)) } ?? .dense(value.stored)
        }
    }
}

extension Parameters<CompressedValue> {
    /// The parameters with embedding and head as integers, where the plan rounds them.
    ///
    /// - Throws: ``ConfigurationError`` where the embedding serves as head and the two have different bits.
    func roundingTables(_ plan: WeightPlan) throws(ConfigurationError) -> Self {
        if isLast { try plan.checkTables(tied: tiesHead) }
        return mapSpecs { _, spec, value in plan[spec.role].map { .integer($0.quantized(value.tensor)) } ?? value }
    }
}

extension Execution {
    /// What a configuration does to activations, with these run-time rotations.
    init(config: RunConfig, online: OnlineRotations = OnlineRotations()) {
        self.init()
        let settings = config.quantization
        (activationBits, keyBits, valueBits) = (settings.activations.bits, settings.kv.keys, settings.kv.values)
        // What is not rounded has no range.
        activationSymmetric = activationBits < 16 && settings.activations.symmetric
        if activationSymmetric { activationRange = settings.activations.symmetricRange }
        if activationBits < 16 { activationPerHead = settings.activations.headRanges ?? true }
        cacheSymmetric = min(keyBits, valueBits) < 16 && settings.kv.symmetric
        clipRatios = settings.clipRatios.rounding(activations: activationBits, keys: keyBits, values: valueBits)
        (r3, r4) = (online.r3 != nil, online.r4 != nil)
    }
}

extension FolderPacking {
    /// A folder whose linears are integers. Collective.
    ///
    /// - Parameter own: this rank's stage.
    init(
        _ plan: WeightPlan, _ inputs: LanguageModelInputs, _ execution: Execution, _ own: Parameters<CompressedValue>,
        _ groups: ParallelGroups<some Communicator>
    ) throws {
        let isPortable = own.named.allSatisfy { parameter in
            if case .integer(let weight) = parameter.value { IntegerTensors.isPortable(weight) } else { true }
        }
        let exceptions = try groups.world.allReduce(Int64(isPortable ? 0 : 1), .sum)
        self.init(
            integers: plan.specs, embedding: plan[.embedding]?.spec, head: plan[.head]?.spec, execution: execution,
            isPortable: exceptions == 0)
    }
}

extension Architecture {
    /// For `summary.json`: the number of the compressed network's linears that ran by each kind of product.
    func products(ternary: Int = 0, integer: Int = 0) -> JSONValue {
        [
            "packed_ternary": .integer(ternary), "packed_integer": .integer(integer),
            "float32": .integer(linears.count - ternary - integer),
        ]
    }
}

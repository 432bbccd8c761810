/// What `sq-train plan` computes, and for which cluster.
package struct PlanSettings: Sendable, Equatable {
    /// The name of the command, whose settings are those of the job that it is about.
    package static let command = "plan"

    package var job: ModelJob
    package var nodes: Int
    /// nil to search.
    package var ranksPerNode: Int?
    /// nil for this machine's, or what is assumed of a cluster's.
    package var coresPerNode: Int?
    /// nil for what this machine has available, or what is assumed of a cluster's.
    package var memoryPerNode: ByteCount?
    /// Bytes a second; nil for what suits the number of nodes.
    package var bandwidth: Double?
    /// Seconds; nil for what suits the number of nodes.
    package var latency: Double?
    /// Of one core; nil to measure this machine's, or for what is assumed of a cluster's.
    package var productFlops: Double?

    init(_ key: Settings) {
        job = key("job", .rotate, "what plan computes the cost of")
        nodes = key("nodes", 1, "machines of the cluster", .range(1...1_048_576))
        ranksPerNode = key.optional(
            "ranks_per_node", orElse: "auto", "ranks on each; auto: searched, with the threads that the cores leave them",
            .range(1...65536))
        coresPerNode = key.optional(
            "cores_per_node", orElse: "auto",
            "cores of each; auto: as many as here where nodes is 1, else \(AssumedNode.cores)",
            .range(1...65536))
        memoryPerNode = key.optional(
            "memory_per_node", orElse: "auto",
            "memory of each, such as 256GiB; auto: what is free here where neither nodes nor cores_per_node is given, else "
                + "\(ByteCount(AssumedNode.memoryPerCore).rounded) a core", .atLeast(ByteCount(1 << 20)))
        bandwidth = key.optional(
            "bandwidth", orElse: "auto",
            "bytes per second a node sends; auto: \((AssumedNode.sharedBandwidth / 1e9).settingText)e9 on one node, "
                + "\((AssumedNode.bandwidth / 1e9).settingText)e9 between several",
            .above(0, upTo: 1e15))
        latency = key.optional(
            "latency", orElse: "auto",
            "seconds a small message takes; auto: \(AssumedNode.sharedLatency.settingText) on one node, "
                + "\(AssumedNode.latency.settingText) between several",
            .above(0, upTo: 10))
        productFlops = key.optional(
            "gemm_flops", orElse: "auto",
            "operations per second of a float32 matrix product on one core, also where training.precision=bfloat16; auto: "
                + "measured here where neither nodes nor cores_per_node is given, else "
                + AssumedNode.productFlops.settingText,
            .between(1e6, 1e18))
    }
}

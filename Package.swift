// swift-tools-version: 6.2
import PackageDescription

/// Settings every Swift module shares: imports stay internal unless they are part of a signature, and members are visible
/// only through modules that are imported by name, so that the direction of imports below is what the compiler enforces.
let strict: [SwiftSetting] = [
    .enableUpcomingFeature("ExistentialAny"),
    .enableUpcomingFeature("InternalImportsByDefault"),
    .enableUpcomingFeature("MemberImportVisibility"),
]

/// A module and what it imports. A module imports only modules listed above it.
func module(_ name: String, _ dependencies: [Target.Dependency] = [], resources: [Resource]? = nil) -> Target {
    .target(name: name, dependencies: dependencies, resources: resources, swiftSettings: strict)
}

/// The tests of one module; `TestSupport` holds the checkers and the golden suite's reader.
func tests(_ name: String, _ dependencies: [Target.Dependency]) -> Target {
    .testTarget(
        name: "\(name)Tests", dependencies: [.init(stringLiteral: name), "TestSupport"] + dependencies, swiftSettings: strict)
}

/// What `git describe` calls the sources, for `--version`; `launch/quickstart` sets it. Empty: not known.
let commit = (Context.environment["SQ_TRAIN_COMMIT"] ?? "").filter { $0.isLetter || $0.isNumber || ".-".contains($0) }

let package = Package(
    name: "sq-train",
    products: [
        .executable(name: "sq-train", targets: ["sq-train"]),
        // For other packages: ternary factors, integers, models and their exports; and the kernels, plain C, declared in
        // Sources/CKernels/include. The other Swift modules have no public API.
        .library(name: "SQTrain", targets: ["SQTrain"]),
        .library(name: "CKernels", targets: ["CKernels"]),
    ],
    dependencies: [
        .package(url: "https://github.com/apple/swift-argument-parser", from: "1.5.0"),
        .package(url: "https://github.com/apple/swift-collections", from: "1.1.0"),
        .package(url: "https://github.com/jpsim/Yams", from: "6.0.0"),
        // A command of the package manager's, `swift package generate-documentation`; nothing imports it.
        .package(url: "https://github.com/swiftlang/swift-docc-plugin", from: "1.4.0"),
    ],
    targets: [
        .systemLibrary(name: "COpenMPI", pkgConfig: "ompi-c", providers: [.apt(["libopenmpi-dev", "openmpi-bin"])]),
        .systemLibrary(name: "COpenBLAS", pkgConfig: "openblas", providers: [.apt(["libopenblas-dev", "liblapacke-dev"])]),
        .systemLibrary(name: "CZeroMQ", providers: [.apt(["libzmq3-dev"])]),
        .systemLibrary(name: "CSodium", providers: [.apt(["libsodium-dev"])]),
        .target(name: "CMPI", dependencies: ["COpenMPI"]),
        .target(name: "CProcess", cSettings: [.define("CPROCESS_COMMIT", to: "\"\(commit)\"")]),
        // The files in kernels/ are compiled by avx512.c, avx2.c and baseline.c, once for each instruction set, some of them by
        // avx512vnni.c or avx512bf16.c, too.
        .target(name: "CKernels", exclude: ["kernels"], linkerSettings: [.linkedLibrary("m")]),
        module("Support", ["CSodium"]),
        module("TensorCore", ["Support", "CKernels"]),
        module("LinearAlgebra", ["Support", "TensorCore", "CKernels", "COpenBLAS"]),
        module("Autograd", ["TensorCore", "LinearAlgebra", "CKernels"]),
        module(
            "HuggingFace",
            [
                "Support", "TensorCore", "CKernels",
                .product(name: "HeapModule", package: "swift-collections"),
            ]),
        module("ChatTemplates", ["Support"]),
        module("GGUF", ["Support", "TensorCore", "HuggingFace"]),
        module("Models", ["Support", "TensorCore", "LinearAlgebra", "Autograd", "HuggingFace", "GGUF", "CKernels"]),
        module("Quantization", ["Support", "TensorCore", "LinearAlgebra", "Autograd", "CKernels"]),
        module(
            "Rotation",
            ["Support", "TensorCore", "LinearAlgebra", "Autograd", "HuggingFace", "Models", "Quantization", "CKernels"]),
        module(
            "TernarySVD",
            [
                "Support", "TensorCore", "LinearAlgebra", "HuggingFace", "Quantization", "CKernels",
                .product(name: "HeapModule", package: "swift-collections"),
            ]),
        module(
            "Compression",
            [
                "Support", "TensorCore", "LinearAlgebra", "Autograd", "HuggingFace", "Models", "Quantization", "Rotation",
                "TernarySVD",
            ]),
        module(
            "Exports",
            [
                "Support", "TensorCore", "HuggingFace", "ChatTemplates", "GGUF", "Models", "Rotation", "TernarySVD",
                "Compression",
            ]),
        module("Collectives", ["Support", "TensorCore", "CMPI"]),
        module("Parallelism", ["Support", "TensorCore", "Autograd", "Collectives"]),
        module(
            "Calibration",
            ["Support", "TensorCore", "Autograd", "HuggingFace", "Models", "Quantization", "Collectives", "Parallelism"]),
        module(
            "Evaluation",
            [
                "Support", "TensorCore", "LinearAlgebra", "Autograd", "HuggingFace", "Models", "Collectives", "Parallelism",
                "CKernels",
            ]),
        module(
            "Generation",
            [
                "Support", "TensorCore", "LinearAlgebra", "Autograd", "HuggingFace", "Models", "Quantization", "Rotation",
                "Compression",
            ]),
        module(
            "TransitionBus",
            [
                "Support", "TensorCore", "Collectives", "CZeroMQ",
            ]),
        // The model that ships with the program.
        module("EmbeddedModel", ["Support"], resources: [.copy("Resources/wiki-llama-4m")]),
        module("Datasets", ["Support", "TensorCore", "Autograd", "HuggingFace", "Models", "Collectives", "Parallelism"]),
        module(
            "Configuration",
            [
                "Support", "TensorCore", "LinearAlgebra", "Models", "Quantization", "Rotation", "TernarySVD", "Compression",
                "Parallelism", "Calibration", "Evaluation", "TransitionBus", "EmbeddedModel", "Datasets", "Yams",
            ]),
        module(
            "Planning",
            [
                "Support", "TensorCore", "LinearAlgebra", "Autograd", "HuggingFace", "Models", "Quantization", "Rotation",
                "TernarySVD", "TransitionBus", "Calibration", "Collectives", "Parallelism", "EmbeddedModel", "Datasets",
                "Configuration",
            ]),
        module(
            "Runs",
            [
                "Support", "TensorCore", "HuggingFace", "Models", "Quantization", "TernarySVD", "Collectives", "Parallelism",
                "Evaluation", "TransitionBus", "Configuration",
            ]),
        module(
            "Trainer",
            [
                "Support", "TensorCore", "LinearAlgebra", "Autograd", "HuggingFace", "Models", "Quantization", "Rotation",
                "TernarySVD", "Collectives", "Parallelism", "Evaluation", "TransitionBus", "Datasets", "Configuration", "Runs",
                "CKernels", "Calibration",
            ]),
        module(
            "Jobs",
            [
                "Support", "TensorCore", "LinearAlgebra", "Autograd", "HuggingFace", "ChatTemplates", "Models", "Quantization",
                "Rotation", "TernarySVD", "Compression", "Exports", "Collectives", "Parallelism", "Calibration", "Evaluation",
                "Generation", "TransitionBus", "EmbeddedModel", "Datasets", "Configuration", "Planning", "Runs", "Trainer",
            ]),
        module(
            "SQTrain",
            [
                "Support", "TensorCore", "LinearAlgebra", "Autograd", "HuggingFace", "Models", "Quantization", "TernarySVD",
                "Compression", "Generation", "Exports",
            ]),
        .executableTarget(
            name: "sq-train",
            dependencies: [
                "Support", "TensorCore", "LinearAlgebra", "HuggingFace", "Models", "Exports", "Generation", "Collectives",
                "TransitionBus", "Configuration", "Runs", "Jobs", "CKernels", "CProcess",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            swiftSettings: strict),
        // Not shipped: measures kernels and makes the random models that runs are measured on, see Benchmarks/README.md.
        .executableTarget(
            name: "benchmarks",
            dependencies: [
                "Support", "TensorCore", "LinearAlgebra", "HuggingFace", "Models", "Quantization", "Rotation", "TernarySVD",
                "CKernels", "COpenBLAS",
                "Collectives", "Parallelism", "Calibration", "Evaluation", "Datasets",
                .product(name: "ArgumentParser", package: "swift-argument-parser"),
            ],
            path: "Benchmarks/Sources", swiftSettings: strict),
        .target(
            name: "TestSupport", dependencies: ["Support", "TensorCore", "HuggingFace", "Models"], path: "Tests/TestSupport",
            swiftSettings: strict),
        tests("TensorCore", ["CKernels"]),
        tests("LinearAlgebra", ["TensorCore"]),
        tests("Support", []),
        tests(
            "Compression",
            [
                "TensorCore", "LinearAlgebra", "HuggingFace", "Models", "Quantization", "Rotation", "TernarySVD",
                "EmbeddedModel", "Support",
            ]),
        tests("Datasets", ["Support", "TensorCore", "HuggingFace", "Parallelism", "Configuration"]),
        tests(
            "Configuration",
            [
                "Support", "TensorCore", "LinearAlgebra", "HuggingFace", "Models", "Quantization", "Rotation", "Parallelism",
            ]),
        tests("Planning", ["Support", "HuggingFace", "Models", "Rotation", "Collectives", "Parallelism", "Configuration"]),
        tests(
            "Runs",
            [
                "Support", "TensorCore", "HuggingFace", "Models", "Quantization", "TernarySVD", "Collectives", "Parallelism",
                "Evaluation", "Configuration",
            ]),
        tests(
            "Trainer",
            [
                "Support", "TensorCore", "LinearAlgebra", "Autograd", "HuggingFace", "Models", "Quantization", "Rotation",
                "TernarySVD", "Collectives", "Parallelism", "Calibration", "Evaluation", "TransitionBus", "EmbeddedModel",
                "Configuration", "Runs",
            ]),
        tests(
            "Jobs",
            [
                "Support", "Compression", "Exports", "TensorCore", "Autograd", "HuggingFace", "Models", "Rotation",
                "Collectives", "Parallelism", "Evaluation",
                "EmbeddedModel", "Configuration", "Runs", "Quantization", "TernarySVD", "Trainer",
            ]),
        tests("Autograd", ["Support", "TensorCore", "LinearAlgebra"]),
        tests("Parallelism", ["TensorCore", "Autograd", "Models", "Collectives"]),
        tests("Models", ["Support", "TensorCore", "LinearAlgebra", "Autograd", "HuggingFace", "CKernels"]),
        tests("HuggingFace", ["Support", "TensorCore"]),
        tests("ChatTemplates", ["Support"]),
        tests("GGUF", ["Support", "TensorCore", "HuggingFace"]),
        tests("Collectives", ["Support", "TensorCore"]),
        .target(
            name: "BusTestSupport", dependencies: ["Support", "TensorCore", "Collectives", "TransitionBus"],
            path: "Tests/BusTestSupport", swiftSettings: strict),
        tests("TransitionBus", ["Support", "TensorCore", "Collectives", "CZeroMQ", "BusTestSupport"]),
        tests("TernarySVD", ["Support", "TensorCore", "LinearAlgebra", "HuggingFace", "Quantization"]),
        // Run under mpirun, see launch/test; without it a world of one.
        .testTarget(
            name: "RankTests",
            dependencies: [
                "Support", "TensorCore", "LinearAlgebra", "Autograd", "Models", "Rotation", "TernarySVD", "Collectives",
                "Evaluation", "Parallelism", "TransitionBus", "EmbeddedModel", "Datasets", "Configuration", "Runs", "Trainer",
                "BusTestSupport", "TestSupport", "Quantization", "Calibration", "Compression", "HuggingFace", "Generation",
                "Planning", "Jobs",
            ],
            swiftSettings: strict),
        tests("Quantization", ["Support", "TensorCore", "LinearAlgebra", "Autograd", "HuggingFace"]),
        tests(
            "Calibration",
            [
                "Support", "TensorCore", "LinearAlgebra", "Autograd", "Models", "Quantization", "Collectives", "Parallelism",
            ]),
        tests(
            "Rotation",
            ["Support", "TensorCore", "LinearAlgebra", "Autograd", "HuggingFace", "Models", "Quantization", "Evaluation"]),
        tests(
            "Generation",
            [
                "Support", "TensorCore", "LinearAlgebra", "HuggingFace", "Models", "Quantization", "Rotation", "TernarySVD",
                "Compression", "EmbeddedModel",
            ]),
        tests(
            "Exports",
            [
                "Support", "TensorCore", "LinearAlgebra", "HuggingFace", "GGUF", "Models", "Quantization", "Rotation",
                "TernarySVD",
                "Compression",
            ]),
        // As another package would use it: by its public names alone.
        .testTarget(name: "SQTrainTests", dependencies: ["SQTrain", "EmbeddedModel"], swiftSettings: strict),
        tests(
            "Evaluation",
            [
                "Support", "TensorCore", "LinearAlgebra", "Autograd", "HuggingFace", "Models", "Collectives", "Parallelism",
                "EmbeddedModel",
            ]),
        .testTarget(name: "TokenizerTests", dependencies: ["Support", "HuggingFace", "TestSupport"], swiftSettings: strict),
        // Runs the built program.
        .testTarget(
            name: "CommandLineTests",
            dependencies: ["sq-train", "Support", "HuggingFace", "Models", "TensorCore", "TestSupport"],
            swiftSettings: strict),
    ]
)

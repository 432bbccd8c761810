import HuggingFace
import Support
import TensorCore
import TestSupport
import Testing

@testable import TernarySVD

@Suite struct ConvolutionTests {
    @Test(arguments: GoldenSuite.cases(group: "tsvd_conv"))
    func `every form of a convolution runs as recorded, from packed factors`(golden: GoldenCase) throws {
        let file = try GoldenSuite.tensors(of: golden)
        let geometry = try geometry(of: golden)
        let transposed = golden.params["layer"]?.string == "Ternary_SVD_ConvTranspose"
        let x = try file.readFloat("x")
        let bias = file.tensors["bias"] == nil ? nil : try file.readFloat("bias")
        let weight = try file.readFloat("weight")
        for form in ConvolutionForm.allCases {
            let prefix = "form\(form.rawValue)."
            let u = try file.readFloat(prefix + "u"), s = try file.readFloat(prefix + "s"), v = try file.readFloat(prefix + "v")
            #expect([u.shape[2], u.shape[3]] == [form.kernelU(weight.shape[2], weight.shape[3])].flatMap { [$0.0, $0.1] })
            let matrices = form.matrices(weight, groups: geometry.groups)
            #expect(try matrices.shape == file.readInts(prefix + "matrix_shape"))
            #expect(form.weight(matrices, shape: weight.shape).elements == weight.elements)
            let layer = TernaryConvolution(u: u, s: s, v: v, bias: bias, form, geometry, transposed: transposed)
            let own = layer.apply(x), recorded = try file.readFloat(prefix + "y")
            #expect(own.shape == recorded.shape)
            // Where output padding exceeds padding the reference forgets the bias in what it adds; those rows and columns are
            // left out.
            let beyond = (0..<2).map { transposed ? max(0, geometry.outputPadding[$0] - geometry.padding[$0]) : 0 }
            let (h, w) = (own.shape[2] - beyond[0], own.shape[3] - beyond[1])
            var worst: Float = 0
            for index in 0..<own.count where index / own.shape[3] % own.shape[2] < h && index % own.shape[3] < w {
                let difference = abs(own[flat: index] - recorded[flat: index])
                if !(difference <= worst) { worst = difference }
            }
            let tolerance = try Float(#require(golden.tolerance["y_rel"]?.number))
            #expect(worst <= tolerance * recorded.maxMagnitude, "\(prefix)")
            if beyond != [0, 0], let bias {
                // A full transposed convolution has nothing there but the bias.
                #expect(own[flat: own.shape[2] * own.shape[3] - 1] == bias[flat: 0])
            }
        }
    }

    @Test(arguments: GoldenSuite.cases(group: "tsvd_conv"))
    func `the cheapest form is the recorded one, at the recorded costs`(golden: GoldenCase) throws {
        let weight = try GoldenSuite.tensors(of: golden).readFloat("weight")
        var options = TernaryOptions(tolerance: 0.05, mode: .reference)
        options.tolerance = try Float(#require(golden.params["tolerance"]?.number))
        options.threshold = try Float(#require(golden.params["cos_thresh"]?.number))
        options.rounds = golden.params["steps"]?.integer ?? 20
        let groups = golden.params["kwargs"]?["groups"]?.integer ?? 1
        let costs = try #require(golden.expected["costs"]?.array).map { try #require($0.number) }
        let tolerance = try #require(golden.tolerance["cost_rel"]?.number)
        var own: [Double] = []
        for form in ConvolutionForm.allCases {
            let result = try ConvolutionDecomposition(weight, groups: groups, form, options, name: golden.id)
            own.append(result.cost)
            #expect(abs(result.cost - costs[form.rawValue]) <= tolerance * costs[form.rawValue], "form \(form.rawValue)")
        }
        let chosen = try ConvolutionDecomposition.cheapest(weight, groups: groups, options)
        let recorded = try #require(golden.expected["chosen_form_by_cost"]?.integer)
        // Two forms whose costs are closer than these are known are as good as each other.
        #expect(chosen.form.rawValue == recorded || costs[chosen.form.rawValue] <= (1 + 2 * tolerance) * costs[recorded])
        #expect(chosen.cost == own.min())
    }

    /// The values of torch's `pad` in these modes.
    @Test(
        arguments: [
            ("zeros", [0, 0, 1, 2, 3, 0, 0]), ("reflect", [3, 2, 1, 2, 3, 2, 1]), ("replicate", [1, 1, 1, 2, 3, 3, 3]),
            ("circular", [2, 3, 1, 2, 3, 1, 2]),
        ])
    func `an image is padded in the four modes`(_ name: String, _ expected: [Float]) throws {
        let mode = try #require(ConvolutionGeometry.PaddingMode(rawValue: name))
        let row = Tensor([1, 2, 3], [1, 1, 1, 3])
        #expect(ImagePatches.pad(row, [0, 2], mode).elements == expected)
        #expect(ImagePatches.pad(row.reshaped([1, 1, 3, 1]), [2, 0], mode).elements == expected)
    }

    private func geometry(of golden: GoldenCase) throws -> ConvolutionGeometry {
        let arguments = try #require(golden.params["kwargs"])
        func pair(_ key: String, _ otherwise: Int) -> [Int] {
            if let list = arguments[key]?.integers { return list }
            let value = arguments[key]?.integer ?? otherwise
            return [value, value]
        }
        var geometry = ConvolutionGeometry()
        geometry.stride = pair("stride", 1)
        geometry.padding = pair("padding", 0)
        geometry.dilation = pair("dilation", 1)
        geometry.outputPadding = pair("output_padding", 0)
        geometry.groups = arguments["groups"]?.integer ?? 1
        if let mode = arguments["padding_mode"]?.string {
            geometry.paddingMode = try #require(ConvolutionGeometry.PaddingMode(rawValue: mode))
        }
        return geometry
    }
}

internal import Glibc
package import Support

/// What a network makes of a task, in lm-eval's metrics.
package struct TaskResult: Sendable {
    /// A metric; `error`: standard error, nil where there is none.
    package struct Metric: Sendable, Equatable {
        package let name: String
        package let value: Double
        package let error: Double?
        package let higherIsBetter: Bool
    }

    package let file: TaskFile
    package let metrics: [Metric]

    /// - Parameter likelihoods: of the items' requests, in order; `counts`: requests of each item.
    /// - Precondition: as many likelihoods as requests.
    package init(_ file: TaskFile, _ likelihoods: [Likelihood], counts: [Int]) {
        self.file = file
        var choices = ChoiceSums()
        var cloze: [Likelihood] = []
        var text = (logarithm: 0.0, words: 0, bytes: 0)
        var next = 0
        for (item, count) in zip(file.items, counts) {
            let own = Array(likelihoods[next..<next + count])
            next += count
            switch item {
            case .choices(_, let lengths, let right): choices.add(own, lengths: lengths, right: right)
            case .cloze: cloze += own
            case .text(let content):
                text.logarithm += own.reduce(0) { $0 + $1.logarithm }
                text.words += content.wordCount
                text.bytes += content.utf8.count
            }
        }
        var metrics: [Metric] = []
        if !choices.plain.isEmpty {
            metrics.append(.mean("acc", choices.plain))
            if file.task.normalizes { metrics.append(.mean("acc_norm", choices.normalized)) }
        }
        if !cloze.isEmpty {
            metrics.append(.perplexity(cloze.map(\.logarithm)))
            metrics.append(.mean("acc", cloze.map { $0.isGreedy ? 1 : 0 }))
        }
        if text.words > 0 {
            metrics.append(.loss("word_perplexity", exp(-text.logarithm / Double(text.words))))
            metrics.append(.loss("byte_perplexity", exp(-text.logarithm / Double(text.bytes))))
            metrics.append(.loss("bits_per_byte", -text.logarithm / Double(text.bytes) / log(2)))
        }
        self.metrics = metrics
    }

    /// Whether each item's answer is right, by likelihood and by likelihood per character.
    private struct ChoiceSums {
        var plain: [Double] = []
        var normalized: [Double] = []

        mutating func add(_ likelihoods: [Likelihood], lengths: [Int], right: Int) {
            func best(_ scores: [Double]) -> Int { scores.indices.reduce(0) { scores[$1] > scores[$0] ? $1 : $0 } }
            plain.append(best(likelihoods.map(\.logarithm)) == right ? 1 : 0)
            normalized.append(best(zip(likelihoods, lengths).map { $0.logarithm / Double($1) }) == right ? 1 : 0)
        }
    }
}

extension TaskResult.Metric {
    /// With the standard error of a mean, s/√n; none for one value.
    fileprivate static func mean(_ name: String, _ values: [Double]) -> Self {
        let (mean, error) = values.meanAndError
        return Self(name: name, value: mean, error: error, higherIsBetter: true)
    }

    /// exp(−mean), with the error of the mean carried through the exponential.
    fileprivate static func perplexity(_ logarithms: [Double]) -> Self {
        let (mean, error) = logarithms.meanAndError
        return Self(name: "perplexity", value: exp(-mean), error: error.map { exp(-mean) * $0 }, higherIsBetter: false)
    }

    fileprivate static func loss(_ name: String, _ value: Double) -> Self {
        Self(name: name, value: value, error: nil, higherIsBetter: false)
    }
}

extension [Double] {
    fileprivate var meanAndError: (mean: Double, error: Double?) {
        let mean = reduce(0, +) / Double(count)
        guard count > 1 else { return (mean, nil) }
        let variance = reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(count - 1)
        return (mean, (variance / Double(count)).squareRoot())
    }
}

// MARK: - For people and for lm-eval's readers

/// The results of several tasks.
package struct TaskResults: Sendable {
    package let results: [TaskResult]
    /// Where the tokenizer puts a token that begins a text, for the reader.
    package let bos: String

    package init(_ results: [TaskResult], bos: String) { (self.results, self.bos) = (results, bos) }

    /// A row a metric, in 80 columns.
    package var text: String {
        var table = Table(columns: ["task", "items", "metric", "value", "± standard error"])
        for result in results {
            for (place, metric) in result.metrics.enumerated() {
                table.add([
                    place == 0 ? result.file.label : "", place == 0 ? "\(result.file.items.count)" : "", metric.name,
                    metric.value.formatted(decimals: 4), metric.error.map { $0.formatted(decimals: 4) } ?? "–",
                ])
            }
        }
        return table.text + "\nbeginning of a text: \(bos)"
    }

    /// In `summary.json`.
    package var json: JSONValue {
        var object = JSONObject()
        for result in results {
            var task = JSONObject()
            task["path"] = .string(result.file.path)
            task["sha256"] = .string(result.file.sha256)
            task["items"] = .integer(result.file.items.count)
            task["bos"] = .string(bos)
            for metric in result.metrics {
                task[metric.name] = .double(metric.value)
                task[metric.name + "_stderr"] = metric.error.map { .double($0) } ?? .null
            }
            object[result.file.label] = .object(task)
        }
        return .object(object)
    }

    /// As lm-evaluation-harness 0.4 writes `results_….json`.
    ///
    /// - Parameters:
    ///   - model: the folder; `network`: what of it was scored.
    ///   - length: tokens that the network reads at most.
    ///   - limit: items of each file that were to be read at most; nil for all.
    ///   - start, end: seconds since 1970.
    package func harness(
        model: String, network: String, length: Int, limit: Int?, version: String, start: Double, end: Double
    ) -> JSONValue {
        var (values, subtasks, configurations) = (JSONObject(), JSONObject(), JSONObject())
        var (versions, shots, directions, samples) = (JSONObject(), JSONObject(), JSONObject(), JSONObject())
        for result in results {
            let label = result.file.label
            var (metrics, better) = (JSONObject(), JSONObject())
            metrics["alias"] = .string(label)
            for metric in result.metrics {
                metrics["\(metric.name),none"] = .double(metric.value)
                metrics["\(metric.name)_stderr,none"] = metric.error.map { .double($0) } ?? "N/A"
                better[metric.name] = .bool(metric.higherIsBetter)
            }
            values[label] = .object(metrics)
            subtasks[label] = []
            configurations[label] = [
                "task": .string(label), "dataset_path": "json",
                "dataset_kwargs": ["data_files": ["test": .string(result.file.path)]], "test_split": "test",
                "num_fewshot": 0, "metadata": ["version": .double(result.file.task.version)],
            ]
            versions[label] = .double(result.file.task.version)
            shots[label] = 0
            directions[label] = .object(better)
            samples[label] = ["original": .integer(result.file.total), "effective": .integer(result.file.items.count)]
        }
        return [
            "results": .object(values), "group_subtasks": .object(subtasks), "configs": .object(configurations),
            "versions": .object(versions), "n-shot": .object(shots), "higher_is_better": .object(directions),
            "n-samples": .object(samples),
            "config": [
                "model": "sq-train", "model_args": .string("pretrained=\(model),max_length=\(length)"), "batch_size": 1,
                // lm-eval's is a float, since it may be a share.
                "limit": limit.map { .double(Double($0)) } ?? .null, "bootstrap_iters": 0, "bos": .string(bos),
                "network": .string(network),
            ],
            "sq_train_version": .string(version), "model_source": "sq-train", "model_name": .string(model),
            "model_name_sanitized": .string(model.replacing("/", with: "__")), "system_instruction": .null,
            "fewshot_as_multiturn": false, "chat_template": .null, "start_time": .double(start), "end_time": .double(end),
            "total_evaluation_time_seconds": .string("\(end - start)"),
        ]
    }
}

package import Collectives
package import Configuration
package import Parallelism

/// The environment of a job.
package struct JobContext<World: Communicator> {
    package let config: RunConfig
    /// This rank's place among replicas and stages.
    package let groups: ParallelGroups<World>
    /// All ranks.
    package var communicator: World { groups.world }
    package let folder: RunFolder
    package let reporter: Reporter
    /// Events for monitors, beyond metrics and progress, which the folder and the reporter send.
    package let events: RunEvents
    package let resume: ResumePolicy
    /// Whether a checkpoint of a run on other training data is accepted.
    package let acceptsOtherData: Bool
    /// Whether a checkpoint of another layout is accepted.
    package let acceptsRelayout: Bool
    /// Number of this start of the run: 1, and more where a supervisor or Slurm has started it again.
    package let attempt: Int

    package init(
        config: RunConfig, groups: ParallelGroups<World>, folder: RunFolder, reporter: Reporter,
        events: RunEvents = RunEvents(),
        resume: ResumePolicy = .never, acceptsOtherData: Bool = false, acceptsRelayout: Bool = false,
        attempt: Int = 1
    ) {
        self.config = config
        self.groups = groups
        self.folder = folder
        self.reporter = reporter
        self.events = events
        self.resume = resume
        self.acceptsOtherData = acceptsOtherData
        self.acceptsRelayout = acceptsRelayout
        self.attempt = attempt
    }
}

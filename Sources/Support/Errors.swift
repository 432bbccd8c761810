/// The exit codes of the program, after `sysexits.h`; each error names its own.
package enum ExitCode: Int32, Sendable {
    /// What was compared is not the same.
    case differ = 1
    /// The command line is wrong.
    case usage = 64
    /// An input file breaks its format's rules.
    case data = 65
    /// An input file is missing.
    case noInput = 66
    /// Ranks that must agree do not: a defect of ours, or of the machine.
    case software = 70
    /// Reading or writing failed (disk full, permission, hardware).
    case io = 74
    /// A peer did not answer in time; trying again may help.
    case temporary = 75
    /// A peer could not prove who it is.
    case authentication = 77
    /// The configuration cannot be run as given.
    case configuration = 78
}

/// An error a user sees: one line that says what was wrong, where, and what to do, and the code the process ends with.
package protocol ReportableError: Error, CustomStringConvertible {
    var exitCode: ExitCode { get }
    /// Whether every rank of the job throws it at the same point, since all come to it by the same numbers: none need be told.
    var isCommon: Bool { get }
}

extension ReportableError {
    package var isCommon: Bool { false }
}

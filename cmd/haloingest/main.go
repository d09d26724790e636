// Command haloingest brings a company's whole history out of Intercom and into Halo, and proves that
// nothing is missing. This folder is wiring only: flags to configuration, configuration to parts,
// a run, an exit code. There is one file per command.
package main

import (
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"os/signal"
	"syscall"
	"time"

	"github.com/urfave/cli/v2"
)

// version is set by the linker; see the Makefile.
var version = "development"

func main() {
	hard, abort := context.WithCancelCause(context.Background())
	read, stop := context.WithCancelCause(hard)
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	go obey(signals, sameStop, func() {
		say(os.Stderr, wantsJSONLogs(os.Args[1:]), slog.LevelInfo, "haloingest: stopping: what was read is finished and committed; interrupt again to abort at once")
		stop(errInterrupted)
	}, func() { abort(errInterrupted) })
	os.Exit(run(hard, read, os.Args[1:], os.Stdin, os.Stdout, os.Stderr))
}

// sameStop is within what time of the first signal another one says the same: a supervisor often signals a process and its group, both at once.
const sameStop = 500 * time.Millisecond

// obey calls stop at the first signal, and abort at the first one that comes later than same after it.
func obey(signals <-chan os.Signal, same time.Duration, stop, abort func()) {
	<-signals
	first := time.Now()
	stop()
	for range signals {
		if time.Since(first) >= same {
			break
		}
	}
	abort()
}

// errInterrupted is the cause with which contexts end on a signal.
var errInterrupted = errors.New("interrupted")

// run executes one command line and returns its exit code. When read is done, a run stops reading,
// finishes what it has and ends with code 130, and everything else that a command does is given up; when
// ctx is done, a run is aborted as well. read is a child of ctx.
func run(ctx, read context.Context, args []string, stdin io.Reader, stdout, stderr io.Writer) int {
	out := &keptWriter{w: stdout}
	a := &app{hard: ctx, read: read, stdin: stdin, stdout: out, stderr: stderr, json: wantsJSON(args), jsonLogs: wantsJSONLogs(args)}
	root := a.cli()
	err := root.RunContext(read, append([]string{root.Name}, permute(root, args)...))
	return a.exit(err, out)
}

// app is what all commands share: the process's streams and its two stops. Commands work under their own
// context, which ends with read; what has to outlive a soft stop takes hard.
type app struct {
	hard, read     context.Context
	stdin          io.Reader
	stdout, stderr io.Writer
	json           bool
	jsonLogs       bool // what stands on stderr is JSON, line by line
	printed        bool // the result is on stdout already
}

func (a *app) cli() *cli.App {
	root := &cli.App{
		Name:            "haloingest",
		Usage:           "bring a company's history out of Intercom and into Halo, and prove that nothing is missing",
		Version:         version,
		HideHelpCommand: true,
		Suggest:         true,
		// A rule may hold commas.
		DisableSliceFlagSeparator: true,
		Reader:                    a.stdin,
		Writer:                    a.stdout,
		ErrWriter:                 a.stderr,
		ExitErrHandler:            func(*cli.Context, error) {}, // codes are mapped in one place: exit.go
		Commands: []*cli.Command{
			a.demo(),
			a.connect(),
			a.settings(),
			a.disconnect(),
			a.plan(),
			a.backfill(),
			a.sync(),
			a.replay(),
			a.snapshots(),
			a.diff(),
			a.cutover(),
			a.status(),
			a.rejects(),
			a.runs(),
			a.rules(),
			a.knowledge(),
			a.keys(),
			a.serve(),
			a.users(),
			a.migrate(),
		},
		Action: func(c *cli.Context) error {
			if c.Args().Present() {
				return usagef("there is no command %q; run: haloingest --help", c.Args().First())
			}
			return cli.ShowAppHelp(c)
		},
		OnUsageError: onUsageError,
		Description:  exitCodesHelp,
	}
	for _, cmd := range root.Commands {
		finish(cmd)
	}
	return root
}

// finish gives every command the same manners: environment variables for its flags, usage errors as
// errors rather than printed help, and no implicit help subcommand.
func finish(cmd *cli.Command) {
	cmd.HideHelpCommand = true
	cmd.OnUsageError = onUsageError
	for _, flag := range cmd.Flags {
		nameEnv(flag)
	}
	if len(cmd.Subcommands) > 0 {
		cmd.Action = func(c *cli.Context) error {
			if c.Args().Present() {
				return usagef("there is no command %q; run: haloingest %s --help", cmd.Name+" "+c.Args().First(), cmd.Name)
			}
			return usagef("which one? run: haloingest %s --help", cmd.Name)
		}
	}
	for _, sub := range cmd.Subcommands {
		finish(sub)
	}
}

func onUsageError(c *cli.Context, err error, _ bool) error {
	name := "haloingest"
	if c != nil && c.Command != nil && c.Command.HelpName != "" {
		name = c.Command.HelpName
	}
	return usagef("%w; run: %s --help", err, name)
}

package main

import (
	"errors"
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"haloingest/pipeline/record"
	"haloingest/sinks/postgres"
)

// undoResult is the JSON of runs undo: the plan, and whether it was carried out.
type undoResult struct {
	postgres.UndoPlan
	DryRun   bool   `json:"dry_run"`
	Undone   bool   `json:"undone"`
	ExitCode int    `json:"exit_code"`
	Error    string `json:"error,omitempty"`
}

// undoRuns takes back what runs have written. The plan is printed before anything is changed.
func (a *app) undoRuns(c *cli.Context) error {
	if c.Args().Len() == 0 {
		return usagef("runs undo takes the runs to undo; list them with: haloingest runs ls --org ORG")
	}
	ws, err := a.openKnown(c)
	if err != nil {
		return err
	}
	defer ws.close()
	var ids []record.UUID
	seen := make(map[record.UUID]bool)
	for _, prefix := range c.Args().Slice() {
		r, err := ws.RunInfo(c.Context, ws.org, prefix)
		if errors.Is(err, postgres.ErrNotFound) {
			return usagef("%w; run: haloingest runs ls --org %s", err, ws.org)
		}
		if err != nil {
			return err
		}
		if !seen[r.ID] {
			seen[r.ID] = true
			ids = append(ids, r.ID)
		}
	}
	if c.Bool("dry-run") {
		plan, err := ws.PlanUndo(c.Context, ws.org, ids)
		if err != nil {
			return undoRefusal(err)
		}
		return a.undoReport(undoResult{UndoPlan: plan, DryRun: true}, undoRefusal(plan.Err()), func(w io.Writer) { printUndoPlan(w, plan, "Would undo") })
	}
	lease, err := ws.Acquire(c.Context, ws.org, holder(c))
	if err != nil {
		return err
	}
	told := false
	plan, err := ws.Undo(c.Context, lease, ids, func(plan postgres.UndoPlan) error {
		told = true
		if !a.json {
			return a.result(nil, func(w io.Writer) { printUndoPlan(w, plan, "Undoing") })
		}
		return nil
	})
	if rerr := lease.Release(c.Context); err == nil && rerr != nil {
		ws.log.Warn("the lease was not given back", "error", rerr)
	}
	if err = undoRefusal(err); !told {
		return err
	}
	return a.undoReport(undoResult{UndoPlan: plan, Undone: err == nil}, err, func(w io.Writer) {
		if err == nil {
			fmt.Fprintln(w, "\nUndone.")
		}
	})
}

// undoReport prints a result, which in JSON says as well why there is none.
func (a *app) undoReport(r undoResult, err error, text func(io.Writer)) error {
	if err != nil {
		r.ExitCode, r.Error = exitCode(err), errorLine(err)
	}
	if perr := a.result(r, text); perr != nil {
		return perr
	}
	return err
}

// undoRefusal makes what keeps runs from being undone a matter of what was asked for.
func undoRefusal(err error) error {
	if errors.Is(err, postgres.ErrNotUndoable) || errors.Is(err, postgres.ErrNotFound) {
		return usagef("%w", err)
	}
	return err
}

func printUndoPlan(w io.Writer, p postgres.UndoPlan, verb string) {
	for _, r := range p.Runs {
		fmt.Fprintf(w, "%s %s %s of %s\n", verb, r.Kind, r.ID, moment(r.StartedAt, ""))
	}
	fmt.Fprintln(w)
	var rows [][]string
	for _, t := range p.Tables {
		if t.Remove+t.Restore+t.Lost > 0 {
			rows = append(rows, []string{t.Table, count(t.Remove), count(t.Restore), count(t.Lost)})
		}
	}
	if len(rows) == 0 {
		fmt.Fprintln(w, "Nothing was written that is still there.")
	} else {
		table(w, []string{"table", "removed", "restored", "deleted by others since"}, rows)
	}
	if p.Bookmark {
		to := "none, so that the next run is a backfill"
		if !p.SyncedTo.IsZero() {
			to = "back to " + moment(p.SyncedTo, "")
		}
		fmt.Fprintf(w, "\nBookmark of the next sync: %s\n", to)
	}
	for _, c := range p.Conflicts {
		fmt.Fprintf(w, "\nIn the way: %s %s of %s, with %s rows\n", c.Run.Kind, c.Run.ID, moment(c.Run.StartedAt, ""), count(c.Rows))
	}
	for _, r := range p.References {
		fmt.Fprintf(w, "\nIn the way: %s rows of %s that are Halo's own\n", count(r.Rows), r.Table)
	}
}

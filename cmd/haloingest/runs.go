package main

import (
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"

	"github.com/urfave/cli/v2"

	"haloingest/cmd/haloingest/internal/ingest"
	"haloingest/sinks/postgres"
)

func (a *app) runs() *cli.Command {
	common := func(own ...cli.Flag) []cli.Flag {
		return concat([]cli.Flag{orgFlag()}, own, storeFlags(), outputFlags())
	}
	return &cli.Command{
		Name:  "runs",
		Usage: "list the runs of an organisation, show one, or undo some",
		Subcommands: []*cli.Command{
			{
				Name:  "ls",
				Usage: "list runs, newest first",
				Flags: common(&cli.IntFlag{Name: "limit", Usage: "show at most `N` runs (0: all)", Value: 20},
					&cli.StringFlag{Name: "kind", Usage: "only runs of this `KIND`, as backfill, sync or webhook"},
					&cli.BoolFlag{Name: "all", Usage: "with the complete passes over webhooks, which --json always lists"}),
				Action: a.listRuns,
			},
			{
				Name:      "show",
				Usage:     "show a run: its streams, what was loaded, and what was seen but not mapped",
				ArgsUsage: "[RUN]",
				Flags:     common(),
				Action:    a.showRun,
			},
			{
				Name:      "undo",
				Usage:     "take back all that runs have written; says first what it will do",
				ArgsUsage: "RUN [RUN ...]",
				Flags:     common(&cli.BoolFlag{Name: "dry-run", Usage: "only say what would be done"}),
				Action:    a.undoRuns,
			},
		},
	}
}

func (a *app) listRuns(c *cli.Context) error {
	if err := noOperands(c); err != nil {
		return err
	}
	limit, err := atLeastZero(c, "limit")
	if err != nil {
		return err
	}
	ws, err := a.openKnown(c)
	if err != nil {
		return err
	}
	defer ws.close()
	filter := postgres.RunFilter{Limit: limit, Kind: c.String("kind")}
	if !a.json && !c.Bool("all") && filter.Kind == "" {
		filter.Quiet = ingest.KindWebhook
	}
	list, hidden, err := ws.RunsOf(c.Context, ws.org, filter)
	if err != nil {
		return err
	}
	var kinds []string
	if len(list) == 0 && filter.Kind != "" {
		if kinds, err = ws.RunKinds(c.Context, ws.org); err != nil {
			return err
		}
	}
	return a.result(append([]postgres.RunInfo{}, list...), func(w io.Writer) {
		switch {
		case len(kinds) > 0:
			fmt.Fprintf(w, "No runs of kind %s; there are runs of kind %s.\n", filter.Kind, strings.Join(kinds, ", "))
		case len(list) == 0 && hidden == 0:
			fmt.Fprintln(w, "No runs yet.")
		}
		printRuns(w, list)
		if hidden > 0 {
			fmt.Fprintf(w, "Not listed: %s over webhooks, complete; see --all or --kind %s.\n", passes(hidden), ingest.KindWebhook)
		}
	})
}

func passes(n int64) string {
	if n == 1 {
		return "1 pass"
	}
	return count(n) + " passes"
}

func printRuns(w io.Writer, list []postgres.RunInfo) {
	if len(list) == 0 {
		return
	}
	var rows [][]string
	for _, r := range list {
		took := ""
		if !r.FinishedAt.IsZero() {
			took = span(r.FinishedAt.Sub(r.StartedAt))
		}
		t := tally(r.Counts)
		rows = append(rows, []string{r.ID.String(), r.Kind, runState(r), moment(r.StartedAt, ""), took,
			count(t.inserted), count(t.updated), count(t.rejected), count(r.Requests)})
	}
	table(w, []string{"run", "kind", "state", "started", "took", "inserted", "updated", "rejected", "requests"}, rows)
}

func (a *app) showRun(c *cli.Context) error {
	if c.Args().Len() > 1 {
		return usagef("runs show takes one run, not %d", c.Args().Len())
	}
	ws, err := a.openKnown(c)
	if err != nil {
		return err
	}
	defer ws.close()
	var r postgres.RunInfo
	if id := c.Args().First(); id != "" {
		r, err = ws.RunInfo(c.Context, ws.org, id)
		if errors.Is(err, postgres.ErrNotFound) {
			return usagef("%w; run: haloingest runs ls --org %s", err, ws.org)
		}
	} else {
		var list []postgres.RunInfo
		if list, err = ws.Runs(c.Context, ws.org, 1); err == nil {
			if len(list) == 0 {
				return usagef("organisation %s has no runs yet", ws.org)
			}
			r = list[0]
		}
	}
	if err != nil {
		return err
	}
	snapshot, err := ingest.SnapshotOf(c.Context, ws.DB, ws.org, r)
	if err != nil {
		return err
	}
	return a.result(shownRun{r, snapshot}, func(w io.Writer) { printRun(w, r, snapshot) })
}

// mostUnmapped bounds the list on a terminal; --json has all of it.
const mostUnmapped = 40

// shownRun is the JSON of runs show.
type shownRun struct {
	postgres.RunInfo
	Snapshot *ingest.SnapshotReport `json:"snapshot,omitempty"`
}

func printRun(w io.Writer, r postgres.RunInfo, snapshot *ingest.SnapshotReport) {
	fmt.Fprintln(w, runLine(r))
	if lines := keptLines(snapshot); lines != nil {
		fields(w, lines...)
	}
	fmt.Fprintln(w)
	var rows [][]string
	for _, s := range r.Streams {
		state := "unfinished"
		switch {
		case s.Skipped != "":
			state = "skipped: " + s.Skipped
		case s.Complete:
			state = "complete"
		}
		t := tally(s.Counts)
		rows = append(rows, []string{s.Stream, count(t.inserted), count(t.updated), count(t.unchanged), count(t.deleted), count(t.rejected), state})
	}
	table(w, []string{"stream", "inserted", "updated", "unchanged", "deleted", "rejected", "state"}, rows)
	printCounts(w, "\nCustom attributes, kept in custom_fields of contacts and companies, in metadata of the others:", r, "custom_attribute/")
	if len(r.Unmapped) == 0 {
		return
	}
	fmt.Fprintln(w, "\nSeen at Intercom and not mapped (the raw object has it):")
	rows = nil
	for i, u := range r.Unmapped {
		if i == mostUnmapped {
			rows = append(rows, []string{fmt.Sprintf("and %d more; see --json", len(r.Unmapped)-i), ""})
			break
		}
		rows = append(rows, []string{u.What, count(u.Count)})
	}
	table(w, []string{"what", "times"}, rows)
}

func printCounts(w io.Writer, title string, r postgres.RunInfo, prefix string) {
	var rows [][]string
	for _, name := range slices.Sorted(maps.Keys(r.Counts)) {
		if what, ok := strings.CutPrefix(name, prefix); ok {
			rows = append(rows, []string{what, count(r.Counts[name])})
		}
	}
	if len(rows) > 0 {
		fmt.Fprintln(w, title)
		table(w, []string{"what", "times"}, rows)
	}
}

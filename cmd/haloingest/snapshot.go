package main

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"haloingest/pipeline/record"
	"haloingest/sinks/parquet"
	"haloingest/sources/snapshot"
)

func (a *app) snapshots() *cli.Command {
	org := &cli.StringFlag{Name: "org", Usage: "Halo's `ID` (a UUID) of the organisation", DefaultText: "the snapshot's only one"}
	common := func(flags ...cli.Flag) []cli.Flag {
		return concat([]cli.Flag{fromSnapshotFlag(), org}, flags, keyFlags(), outputFlags())
	}
	return &cli.Command{
		Name:  "snapshot",
		Usage: "list, check or export the snapshots that backfill and sync keep with --snapshot",
		Subcommands: []*cli.Command{
			{Name: "ls", Usage: "list the runs of a snapshot", Flags: common(), Action: a.listSnapshot},
			{Name: "verify", Usage: "read every file of a snapshot and find whatever is not as it was written",
				Flags: common(runFlag("check only this `RUN`")), Action: a.verifySnapshot},
			{Name: "export", Usage: "write a table of a snapshot to standard output", Flags: withoutJSON(common(
				&cli.StringFlag{Name: "table", Usage: "`TABLE` to write, of layer rows: " + strings.Join(snapshot.Tables[parquet.LayerRows], ", ") +
					"; of layer pages: " + strings.Join(snapshot.Tables[parquet.LayerPages], ", ")},
				&cli.StringFlag{Name: "layer", Usage: "`LAYER`: rows, as they were handed to the database, or pages, as Intercom sent them", Value: parquet.LayerRows},
				&cli.StringFlag{Name: "format", Usage: "`FORMAT`: arrow (an IPC stream), csv or jsonl", Value: snapshot.FormatJSONL},
				runFlag("only this `RUN`"),
			)), Action: a.exportSnapshot},
		},
	}
}

// keyFlags say where the master key is, for snapshots that are encrypted.
func keyFlags() []cli.Flag {
	var list []cli.Flag
	for _, f := range storeFlags() {
		if name := f.Names()[0]; name == "data-dir" || strings.Contains(name, "master-key") {
			list = append(list, f)
		}
	}
	return list
}

// withoutJSON is for a command whose output is no result.
func withoutJSON(flags []cli.Flag) []cli.Flag {
	return slices.DeleteFunc(flags, func(f cli.Flag) bool { return f.Names()[0] == "json" })
}

// snapshotRun is one run of a snapshot in the JSON of ls.
type snapshotRun struct {
	Run        record.UUID       `json:"run"`
	Kind       string            `json:"kind"`
	Complete   bool              `json:"complete"`
	Encrypted  bool              `json:"encrypted"`
	StartedAt  time.Time         `json:"started_at"`
	FinishedAt time.Time         `json:"finished_at,omitzero"`
	Since      time.Time         `json:"since,omitzero"`
	SyncedTo   time.Time         `json:"synced_to,omitzero"`
	Program    string            `json:"program"`
	Mapping    map[string]string `json:"mapping"`
	Files      int               `json:"files"`
	Bytes      int64             `json:"bytes"`
	Rows       map[string]int64  `json:"rows"`  // by table
	Pages      map[string]int64  `json:"pages"` // objects as received, by kind
}

func (a *app) listSnapshot(c *cli.Context) error {
	if err := noOperands(c); err != nil {
		return err
	}
	cfg, err := a.config(c)
	if err != nil {
		return err
	}
	snap, done, err := a.openSnapshot(c, cfg)
	if err != nil {
		return err
	}
	defer done()
	list := make([]snapshotRun, len(snap.Runs))
	for i, r := range snap.Runs {
		list[i] = describeRun(r)
	}
	out := struct {
		Snapshot string        `json:"snapshot"`
		Org      record.UUID   `json:"org"`
		Runs     []snapshotRun `json:"runs"`
	}{snap.Location(), snap.Org, list}
	return a.result(out, func(w io.Writer) { printSnapshotRuns(w, snap, list) })
}

func describeRun(r *snapshot.Run) snapshotRun {
	d := snapshotRun{
		Run: r.Manifest.Run, Kind: r.Kind, Complete: r.Complete, StartedAt: r.StartedAt, FinishedAt: r.FinishedAt, Since: r.Since, SyncedTo: r.SyncedTo,
		Program: r.Program, Mapping: r.Mapping, Files: len(r.Files), Rows: map[string]int64{}, Pages: map[string]int64{},
	}
	d.Encrypted = r.Sealed != nil
	for _, f := range r.Files {
		d.Bytes += f.Bytes
		d.Encrypted = d.Encrypted || len(f.Key) > 0
		if f.Layer == parquet.LayerPages {
			d.Pages[f.Table] += f.Rows
			continue
		}
		d.Rows[f.Table] += f.Rows
	}
	return d
}

func printSnapshotRuns(w io.Writer, snap *snapshot.Snapshot, list []snapshotRun) {
	fmt.Fprintf(w, "Snapshot %s of organisation %s\n\n", snap.Location(), snap.Org)
	names := append(slices.Clone(tables), parquet.TableTombstones, parquet.TableRejects)
	header := append([]string{"run", "kind", "started", "state", "files", "size"}, names...)
	var rows [][]string
	for _, r := range list {
		state := "complete"
		if !r.Complete {
			state = "incomplete"
		}
		if r.Encrypted {
			state += ", encrypted"
		}
		row := []string{r.Run.String(), r.Kind, moment(r.StartedAt, ""), state, count(r.Files), size(r.Bytes)}
		for _, name := range names {
			row = append(row, count(r.Rows[name]))
		}
		rows = append(rows, row)
	}
	table(w, header, rows)
}

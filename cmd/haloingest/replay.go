package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"strings"
	"sync"

	"github.com/urfave/cli/v2"

	"haloingest/cmd/haloingest/internal/config"
	"haloingest/cmd/haloingest/internal/connection"
	"haloingest/cmd/haloingest/internal/replay"
	"haloingest/cmd/haloingest/internal/secret"
	"haloingest/sinks/diff/report/page"
	"haloingest/sinks/parquet"
	"haloingest/sinks/parquet/bucket"
	"haloingest/sinks/postgres"
	"haloingest/sources/snapshot"
)

func (a *app) replay() *cli.Command {
	return &cli.Command{
		Name:  "replay",
		Usage: "load a snapshot, without Intercom; an interrupted replay goes on where it stopped",
		Flags: concat([]cli.Flag{
			fromSnapshotFlag(),
			&cli.StringFlag{Name: "org", Usage: "Halo's `ID` (a UUID) of the organisation", DefaultText: "the snapshot's only one"},
			runFlag("load only this `RUN` of the snapshot"),
			&cli.BoolFlag{Name: "remap", Usage: "run the stages again on the objects as Intercom sent them, for changed id fields, mapping or distiller"},
			&cli.StringFlag{Name: "user-id-field", Usage: "with --remap: contact `FIELD` that is Halo's external_id", DefaultText: "the connection's, else the snapshot's"},
			&cli.StringFlag{Name: "company-id-field", Usage: "with --remap: company `FIELD` that is Halo's external_id", DefaultText: "the connection's, else the snapshot's"},
			&cli.BoolFlag{Name: "restart", Usage: "begin anew instead of going on"},
		}, modelFlags(), storeFlags(), outputFlags()),
		Action: a.replaySnapshot,
	}
}

// fromSnapshotFlag names the snapshot that a command reads.
func fromSnapshotFlag() cli.Flag {
	return &cli.StringFlag{Name: "snapshot", Usage: "the snapshot's `LOCATION`: a folder, or s3://, gs:// or azblob:// with bucket and prefix"}
}

func runFlag(usage string) cli.Flag {
	return &cli.StringFlag{Name: "run", Usage: usage + ", by its id or the beginning of it", DefaultText: "all"}
}

func (a *app) replaySnapshot(c *cli.Context) error {
	request := replay.Request{Remap: c.Bool("remap"), Restart: c.Bool("restart")}
	if err := remapFields(c, &request); err != nil {
		return err
	}
	if err := noOperands(c); err != nil {
		return err
	}
	layer := parquet.LayerRows
	if request.Remap {
		layer = parquet.LayerPages
	}
	cfg, err := a.config(c)
	if err != nil {
		return err
	}
	snap, done, err := a.openSnapshot(c, cfg, layer)
	if err != nil {
		return err
	}
	defer done()
	d, err := a.openDatabase(c)
	if err != nil {
		return err
	}
	ws := &workspace{database: d, org: snap.Org, connections: connection.NewStore(d.Pool(), d.cfg.MasterKey)}
	defer ws.close()
	if err := d.upgrade(c.Context); err != nil {
		return err
	}
	runner := &replay.Runner{DB: d.DB, Snapshot: snap, Log: d.log.With("org", snap.Org.String()), Holder: holder(c)}
	conn, err := ws.connections.Get(c.Context, snap.Org)
	switch {
	case err == nil:
		runner.Connection = &conn
		if err := agree(request, conn); err != nil {
			return err
		}
	case !errors.Is(err, connection.ErrNotConnected):
		return err
	}
	if request.Remap {
		if runner.Distiller, err = a.distiller(c, ws); err != nil {
			return err
		}
	}
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(50) // segments are large, and a replay collects seldom: less garbage beside what is in use costs nearly nothing
	}
	run, err := runner.Start(c.Context, request)
	if err != nil {
		return err
	}
	report, err := carryOut(a, runner.Log, run)
	if report.Run.ID.IsZero() { // the database is gone; the error says so
		return err
	}
	code := exitCode(err)
	if err == nil && report.OpenRejects > 0 {
		code = exitDiffers
	}
	out := replayResult{Report: report, Snapshot: snap.Location(), ExitCode: code}
	if err != nil {
		out.Error = errorLine(err)
	}
	return a.ended(out, code, err, func(w io.Writer) { printReplay(w, snap, report, err) })
}

// replayResult is the JSON of a replay.
type replayResult struct {
	replay.Report
	Snapshot string `json:"snapshot"`
	ExitCode int    `json:"exit_code"`
	Error    string `json:"error,omitempty"`
}

func printReplay(w io.Writer, snap *snapshot.Snapshot, r replay.Report, err error) {
	fmt.Fprintf(w, "%s %s: %s\n\n", r.Run.Kind, r.Run.ID, r.Run.State)
	printLoaded(w, r.Run.Counts)
	fmt.Fprintln(w)
	speed := ""
	if s := r.Elapsed.Seconds(); s > 0 {
		speed = fmt.Sprintf(", %.0f objects a second", float64(r.Read)/s)
	}
	fields(w,
		"took", span(r.Elapsed)+speed,
		"snapshot", fmt.Sprintf("%s, %s", snap.Location(), plural(len(snap.Runs), "run")),
	)
	for _, note := range r.Notes {
		fmt.Fprintf(w, "\n%s\n", note)
	}
	printModel(w, r.Run.Counts)
	fmt.Fprintln(w)
	switch {
	case r.Run.State == postgres.RunInterrupted:
		fmt.Fprintln(w, "Stopped before the end; what was loaded is committed. The same command goes on from there.")
	case err != nil:
		fmt.Fprintln(w, "Not finished; what was loaded is committed. The same command goes on from there.")
	}
	if r.OpenRejects > 0 {
		fmt.Fprintf(w, "Rejected and kept, to be tried again: haloingest rejects ls --org %s\n", snap.Org)
	}
	if err == nil && r.OpenRejects == 0 {
		fmt.Fprintf(w, "What is there now: haloingest runs show %s --org %s\n", r.Run.ID, snap.Org)
	}
}

func plural(n int, what string) string { return page.Plural(int64(n), what) }

// remapFields reads the id fields of a remap; without one they would change nothing.
func remapFields(c *cli.Context, request *replay.Request) error {
	set := connection.Settings{Region: "us", UserIDField: connection.DefaultUserIDField, CompanyIDField: connection.DefaultCompanyIDField, ActivityRefresh: connection.DefaultActivityRefresh}
	for _, f := range []struct {
		flag     string
		to, test *string
	}{{"user-id-field", &request.UserIDField, &set.UserIDField}, {"company-id-field", &request.CompanyIDField, &set.CompanyIDField}} {
		if !c.IsSet(f.flag) {
			continue
		}
		if !request.Remap {
			return usagef("--%s is for --remap: the rows of a snapshot have been made already", f.flag)
		}
		*f.to, *f.test = c.String(f.flag), c.String(f.flag)
	}
	var bad *connection.SettingError
	if err := set.Validate(); errors.As(err, &bad) {
		return usagef("--%s %q: want %s", strings.ReplaceAll(bad.Setting, "_", "-"), bad.Value, bad.Want)
	}
	return nil
}

// agree refuses id fields that the workspace is not connected with: its next sync would give some rows other ids than the rest.
func agree(request replay.Request, conn connection.Connection) error {
	if !conn.Connected {
		return nil
	}
	for _, f := range []struct{ name, asked, has string }{
		{"user-id-field", request.UserIDField, conn.UserIDField}, {"company-id-field", request.CompanyIDField, conn.CompanyIDField},
	} {
		if f.asked != "" && f.asked != f.has {
			return usagef("--%s %s: the organisation is connected with %s, and its next sync would go on with that; replay into another database, or connect with the new field first (haloingest connect --%[1]s %[2]s --no-backfill)", f.name, f.asked, f.has)
		}
	}
	return nil
}

// openSnapshot opens the snapshot that --snapshot, --org and --run name. The layers are those that the command reads; none are both.
func (a *app) openSnapshot(c *cli.Context, cfg config.Config, layers ...string) (*snapshot.Snapshot, func(), error) {
	o, err := a.snapshotOptions(c, cfg)
	if err != nil {
		return nil, nil, err
	}
	o.Layers = layers
	store, err := openStore(c)
	if err != nil {
		return nil, nil, err
	}
	done := func() { _ = store.Close() } // it was only read
	snap, err := snapshot.Open(c.Context, store, o)
	if err != nil {
		done()
		return nil, nil, err
	}
	return snap, done, nil
}

// snapshotOptions reads --org and --run. The master key is looked for when the first encrypted file is read.
func (a *app) snapshotOptions(c *cli.Context, cfg config.Config) (snapshot.Options, error) {
	keys := sync.OnceValues(func() (*secret.FileKeys, error) { return secret.OpenFileKeys(cfg.MasterKey) })
	o := snapshot.Options{Run: strings.TrimSpace(c.String("run")), Unseal: func(path string, sealed []byte) ([]byte, error) {
		k, err := keys()
		if err != nil {
			return nil, err
		}
		return k.Open(path, sealed)
	}}
	if c.String("org") == "" {
		return o, nil
	}
	var err error
	o.Org, err = org(c)
	return o, err
}

func openStore(c *cli.Context) (parquet.Store, error) {
	location := c.String("snapshot")
	if location == "" {
		return nil, usagef("--snapshot is missing: the folder or bucket of the snapshot")
	}
	return bucket.Open(c.Context, location)
}

// holder tells people who has the lease.
func holder(c *cli.Context) string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown host"
	}
	return fmt.Sprintf("%s on %s (process %d)", c.Command.Name, host, os.Getpid())
}

package main

import (
	"fmt"
	"os"
	"runtime/debug"

	"github.com/urfave/cli/v2"

	"haloingest/cmd/haloingest/internal/ingest"
	"haloingest/cmd/haloingest/internal/secret"
	"haloingest/sinks/parquet/bucket"
)

const categorySnapshot = "Snapshot"

// keepFlags are common to the commands that can keep a snapshot of what they read.
func keepFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "snapshot", Usage: "keep what is read, and the rows made of it, as Parquet files in `LOCATION`: a folder, or s3://, gs:// or azblob:// with bucket and prefix", Category: categorySnapshot},
		&cli.BoolFlag{Name: "snapshot-encrypt", Usage: "encrypt the snapshot's files, each with its own key, which the master key seals", Category: categorySnapshot},
	}
}

// keep opens the location of --snapshot for a runner, if there is one. The returned function closes it.
func (a *app) keep(c *cli.Context, ws *workspace, runner *ingest.Runner) (done func(), err error) {
	location := c.String("snapshot")
	if location == "" {
		if c.Bool("snapshot-encrypt") {
			return nil, usagef("--snapshot-encrypt without --snapshot: name the snapshot's location")
		}
		return func() {}, nil
	}
	snapshot := ingest.Snapshot{Program: "haloingest " + version}
	if c.Bool("snapshot-encrypt") {
		keys, err := secret.OpenFileKeys(ws.cfg.MasterKey)
		if err != nil {
			return nil, err
		}
		snapshot.Seal = keys.Seal
	}
	if snapshot.Store, err = bucket.Create(c.Context, location); err != nil {
		return nil, err
	}
	runner.Snapshot = snapshot
	if os.Getenv("GOMEMLIMIT") == "" {
		debug.SetMemoryLimit(memoryLimit)
	}
	return func() {
		if err := snapshot.Store.Close(); err != nil {
			ws.log.Warn("close the snapshot", "error", err)
		}
	}, nil
}

// memoryLimit is from where on garbage is collected earlier than it would be. Segments are large: without it a run that keeps a snapshot has 400
// MiB at its peak, a good half of it garbage, with it 256, for a tenth more processor time. What is in use may be more; that is only slower.
const memoryLimit = 216 << 20

// keptLines says where the snapshot of a run is, as pairs of name and text.
func keptLines(s *ingest.SnapshotReport) []string {
	if s == nil {
		return nil
	}
	encrypted := ""
	if s.Encrypted {
		encrypted = ", encrypted"
	}
	return []string{"snapshot", fmt.Sprintf("%s: %s files, %s%s", s.Location, count(s.Files), size(s.Bytes), encrypted)}
}

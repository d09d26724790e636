package main

import (
	"github.com/urfave/cli/v2"

	"haloingest/cmd/haloingest/internal/ingest"
)

func (a *app) sync() *cli.Command {
	return &cli.Command{
		Name:  "sync",
		Usage: "read and load everything that changed since the last complete sync",
		Flags: concat([]cli.Flag{orgFlag()}, apiFlags(), storeFlags(), outputFlags()),
		Action: func(c *cli.Context) error {
			ws, err := a.open(c)
			if err != nil {
				return err
			}
			defer ws.close()
			runner, err := a.runner(c, ws)
			if err != nil {
				return err
			}
			defer runner.Client.Close()
			if runner.Connection.SyncedTo.IsZero() {
				return usagef("organisation %s has no complete backfill to go on from; run: haloingest backfill --org %s", ws.org, ws.org)
			}
			return a.execute(c, runner, ingest.Request{Kind: ingest.KindSync, Since: runner.Connection.SyncedTo})
		},
	}
}

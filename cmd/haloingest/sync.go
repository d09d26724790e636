package main

import (
	"context"

	"github.com/urfave/cli/v2"

	"haloingest/cmd/haloingest/internal/ingest"
	"haloingest/sinks/postgres"
)

func (a *app) sync() *cli.Command {
	return &cli.Command{
		Name:  "sync",
		Usage: "read and load everything that changed since the last complete sync",
		Flags: concat([]cli.Flag{
			orgFlag(),
			&cli.StringFlag{Name: "from-diff", Usage: "instead read anew and mend what the diff of this `ID` has found, and look at it again"},
		}, keepFlags(), attachmentFlags(), modelFlags(), apiFlags(), storeFlags(), outputFlags()),
		Action: func(c *cli.Context) error {
			ws, err := a.open(c)
			if err != nil {
				return err
			}
			defer ws.close()
			if id := c.String("from-diff"); id != "" {
				return a.mend(c, ws, id)
			}
			runner, err := a.runner(c, ws)
			if err != nil {
				return err
			}
			defer runner.Client.Close()
			if runner.Connection.SyncedTo.IsZero() {
				// While the first backfill runs, that is the better answer.
				if err := held(c.Context, ws); err != nil {
					return err
				}
			}
			request := ingest.Request{Kind: ingest.KindSync, Since: runner.Connection.SyncedTo}
			if err := runner.Allows(request); err != nil {
				return err
			}
			done, err := a.keep(c, ws, runner)
			if err != nil {
				return err
			}
			defer done()
			return a.execute(c, runner, request)
		},
	}
}

// held returns a *postgres.HeldError if another run holds the workspace.
func held(ctx context.Context, ws *workspace) error {
	status, err := ws.Status(ctx, ws.org)
	if err != nil || status.Lease == nil || !status.Lease.Alive {
		return err
	}
	return &postgres.HeldError{Org: ws.org, Holder: status.Lease.Holder, Since: status.Lease.Since, HeartbeatAge: status.Lease.HeartbeatAge}
}

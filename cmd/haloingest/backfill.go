package main

import (
	"time"

	"github.com/urfave/cli/v2"

	"haloingest/cmd/haloingest/internal/ingest"
)

func (a *app) backfill() *cli.Command {
	return &cli.Command{
		Name:  "backfill",
		Usage: "read the whole workspace, or a part of it, and load it; an interrupted backfill goes on where it stopped",
		Flags: concat([]cli.Flag{
			orgFlag(),
			&cli.StringFlag{Name: "only", Usage: "read only these `STREAMS`: contacts,companies,conversations,tickets"},
			&cli.StringFlag{Name: "since", Usage: "only what changed since `T`, in UTC: 2026-01-31, 2026-01-31T12:00:00Z, 72h, 30d"},
			&cli.IntFlag{Name: "sample", Usage: "read at most `N` objects of each stream", DefaultText: "all"},
			&cli.BoolFlag{Name: "restart", Usage: "begin anew instead of going on; a full walk, so it also finds what was deleted"},
		}, keepFlags(), attachmentFlags(), modelFlags(), apiFlags(), storeFlags(), outputFlags()),
		Action: func(c *cli.Context) error {
			request := ingest.Request{Kind: ingest.KindBackfill, Sample: c.Int("sample"), Restart: c.Bool("restart")}
			if request.Sample < 0 {
				return usagef("--sample %d: want 1 or more", request.Sample)
			}
			var err error
			if request.Only, err = kinds(c); err != nil {
				return err
			}
			if request.Since, err = since(c, time.Now()); err != nil {
				return err
			}
			return a.runWith(c, request)
		},
	}
}

// runWith opens the workspace and makes one run in it.
func (a *app) runWith(c *cli.Context, request ingest.Request) error {
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
	done, err := a.keep(c, ws, runner)
	if err != nil {
		return err
	}
	defer done()
	return a.execute(c, runner, request)
}

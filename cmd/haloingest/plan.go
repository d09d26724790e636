package main

import (
	"fmt"
	"io"
	"time"

	"github.com/urfave/cli/v2"

	"haloingest/pipeline/record"
	"haloingest/sources/intercom"
)

func (a *app) plan() *cli.Command {
	return &cli.Command{
		Name:  "plan",
		Usage: "count what a backfill would read: objects, API requests, hours, bytes; writes nothing",
		Flags: concat([]cli.Flag{
			orgFlag(),
			&cli.StringFlag{Name: "only", Usage: "only these `STREAMS`: contacts,companies,conversations,tickets"},
			&cli.StringFlag{Name: "since", Usage: "only what changed since `T`, in UTC: 2026-01-31, 2026-01-31T12:00:00Z, 72h, 30d"},
		}, apiFlags(), storeFlags(), outputFlags()),
		Action: a.planBackfill,
	}
}

// planStream and planResult are the JSON of `plan`.
type planStream struct {
	Stream         string `json:"stream"`
	Objects        *int   `json:"objects"` // null: not known
	Requests       int64  `json:"requests"`
	BytesPerObject int    `json:"bytes_per_object"`
	Bytes          int64  `json:"bytes"`
	Note           string `json:"note,omitempty"`
}

type planResult struct {
	Streams           []planStream `json:"streams"`
	Requests          int64        `json:"requests"`
	Bytes             int64        `json:"bytes"`
	RequestsPerMinute int          `json:"requests_per_minute"` // 0: not known
	Hours             float64      `json:"hours"`               // at that budget
	PlanRequests      int64        `json:"plan_requests"`       // what this plan took
}

func (a *app) planBackfill(c *cli.Context) error {
	var o intercom.PlanOptions
	var err error
	if o.Kinds, err = kinds(c); err != nil {
		return err
	}
	if o.Since, err = since(c, time.Now()); err != nil {
		return err
	}
	ws, err := a.open(c)
	if err != nil {
		return err
	}
	defer ws.close()
	runner, err := a.runnerWith(c, ws, promptly(ws.cfg, ws.log))
	if err != nil {
		return err
	}
	defer runner.Client.Close()
	p, err := runner.Client.Plan(c.Context, o)
	if err != nil {
		return err
	}
	out := planResult{Requests: p.Requests, Bytes: p.Bytes, RequestsPerMinute: p.Budget, Hours: p.Duration.Hours(), PlanRequests: p.Asked}
	incomplete := false
	for _, s := range p.Streams {
		row := planStream{Stream: s.Kind.Stream(), Requests: s.Requests, BytesPerObject: s.PerRow, Bytes: s.Bytes, Note: s.Note}
		if s.Objects >= 0 {
			row.Objects = &s.Objects
		} else {
			incomplete = true
		}
		out.Streams = append(out.Streams, row)
	}
	if err := a.result(out, func(w io.Writer) { printPlan(w, ws.org, out, p.Duration) }); err != nil {
		return err
	}
	if incomplete {
		return quiet(exitIncomplete)
	}
	return nil
}

func printPlan(w io.Writer, org record.UUID, p planResult, duration time.Duration) {
	var rows [][]string
	for _, s := range p.Streams {
		objects := "?"
		if s.Objects != nil {
			objects = count(*s.Objects)
		}
		rows = append(rows, []string{s.Stream, objects, count(s.Requests), size(int64(s.BytesPerObject)), size(s.Bytes)})
	}
	table(w, []string{"stream", "objects", "requests", "size of one", "size"}, rows)
	for _, s := range p.Streams {
		if s.Note != "" {
			fmt.Fprintf(w, "  %s: %s\n", s.Stream, s.Note)
		}
	}
	atLeast := ""
	for _, s := range p.Streams {
		if s.Objects == nil {
			atLeast = "at least "
		}
	}
	fmt.Fprintf(w, "\nA backfill takes %s%s requests and reads %s%s", atLeast, count(p.Requests), atLeast, size(p.Bytes))
	if p.RequestsPerMinute > 0 {
		fmt.Fprintf(w, "; at %s requests a minute that is %s%s", count(p.RequestsPerMinute), atLeast, span(duration))
	}
	fmt.Fprintf(w, ".\nThis plan took %s requests and wrote nothing. Go: haloingest backfill --org %s\n", count(p.PlanRequests), org)
}

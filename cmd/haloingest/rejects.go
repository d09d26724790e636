package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"unicode/utf8"

	"github.com/urfave/cli/v2"

	"haloingest/cmd/haloingest/internal/ingest"
	"haloingest/pipeline/record"
	"haloingest/sinks/postgres"
)

func (a *app) rejects() *cli.Command {
	common := func(groups ...[]cli.Flag) []cli.Flag {
		return concat(append([][]cli.Flag{{orgFlag()}}, append(groups, storeFlags(), outputFlags())...)...)
	}
	return &cli.Command{
		Name:  "rejects",
		Usage: "list the objects that could not be loaded, show one, or try them again",
		Subcommands: []*cli.Command{
			{
				Name:  "ls",
				Usage: "list open rejects",
				Flags: common([]cli.Flag{
					&cli.StringFlag{Name: "kind", Usage: "only `KIND`: contact, company, conversation, ticket"},
					&cli.BoolFlag{Name: "all", Usage: "also those that were loaded since"},
					&cli.IntFlag{Name: "limit", Usage: "show at most `N` (0: all)", Value: 100},
				}),
				Action: a.listRejects,
			},
			{
				Name:      "show",
				Usage:     "show a reject with the object as it was received",
				ArgsUsage: "NUMBER",
				Flags:     common(),
				Action:    a.showReject,
			},
			{
				Name:      "retry",
				Usage:     "read the rejected objects again and load those that are good now",
				ArgsUsage: "[NUMBER ...]",
				Flags:     common(keepFlags(), modelFlags(), apiFlags()),
				Action:    a.retryRejects,
			},
		},
	}
}

func (a *app) listRejects(c *cli.Context) error {
	if err := noOperands(c); err != nil {
		return err
	}
	limit, err := atLeastZero(c, "limit")
	if err != nil {
		return err
	}
	kind := record.Kind(c.String("kind"))
	if kind != "" && !slices.Contains(record.Kinds[:], kind) {
		return usagef("--kind %q: want contact, company, conversation or ticket", kind)
	}
	ws, err := a.openKnown(c)
	if err != nil {
		return err
	}
	defer ws.close()
	list := []postgres.RejectInfo{}
	filter := postgres.RejectFilter{Kind: string(kind), Resolved: c.Bool("all"), Limit: limit}
	for r, err := range ws.Rejects(c.Context, ws.org, filter) {
		if err != nil {
			return err
		}
		list = append(list, r)
	}
	causes, err := ws.RejectCounts(c.Context, ws.org)
	if err != nil {
		return err
	}
	return a.result(list, func(w io.Writer) {
		if len(list) == 0 {
			fmt.Fprintln(w, "No rejects.")
			return
		}
		var rows [][]string
		for _, r := range list {
			state := "open"
			if !r.ResolvedAt.IsZero() {
				state = "loaded since"
			}
			rows = append(rows, []string{strconv.FormatInt(r.ID, 10), r.Kind, r.SourceID, r.Stage, r.Field, state, r.Reason})
		}
		table(w, []string{"number", "kind", "id", "stage", "field", "state", "reason"}, rows)
		var open int64
		for _, cause := range causes {
			open += cause.Open
		}
		fmt.Fprintf(w, "\n%s open. Try them again with: haloingest rejects retry --org %s\n", count(open), ws.org)
	})
}

func (a *app) showReject(c *cli.Context) error {
	ids, err := numbers(c)
	if err != nil {
		return err
	}
	if len(ids) != 1 {
		return usagef("rejects show takes one number; see: haloingest rejects ls")
	}
	ws, err := a.openKnown(c)
	if err != nil {
		return err
	}
	defer ws.close()
	info, payload, err := ws.Reject(c.Context, ws.org, ids[0])
	if errors.Is(err, postgres.ErrNotFound) {
		return usagef("%w; see: haloingest rejects ls --org %s", err, ws.org)
	}
	if err != nil {
		return err
	}
	out := struct {
		postgres.RejectInfo
		Payload any `json:"payload"` // JSON where it is JSON, else text or base64
	}{info, shownPayload(payload)}
	return a.result(out, func(w io.Writer) {
		fields(w,
			"reject", strconv.FormatInt(info.ID, 10),
			"object", info.Kind+" "+info.SourceID,
			"stage", info.Stage,
			"field", info.Field,
			"reason", info.Reason,
			"first seen", moment(info.CreatedAt, ""),
			"last seen", fmt.Sprintf("%s (%s)", moment(info.LastSeenAt, ""), times(int64(info.Times))),
			"loaded since", moment(info.ResolvedAt, "no"),
		)
		fmt.Fprintln(w, "\nThe object as it was received:")
		w.Write(payload)
		fmt.Fprintln(w)
	})
}

func shownPayload(payload []byte) any {
	switch {
	case json.Valid(payload):
		return json.RawMessage(payload)
	case utf8.Valid(payload):
		return string(payload)
	}
	return payload
}

func (a *app) retryRejects(c *cli.Context) error {
	ids, err := numbers(c)
	if err != nil {
		return err
	}
	ws, err := a.openAllowing(c)
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
	if len(ids) == 0 {
		n, err := ws.DB.RetryParked(a.hard, ws.org)
		if err != nil {
			return err
		}
		if n > 0 {
			runner.Log.Info("webhooks that failed too often are open again; serve works them off", "deliveries", n)
		}
	}
	return a.execute(c, runner, ingest.Request{Kind: ingest.KindRetry, Rejects: ids, Restart: true})
}

// numbers reads operands that are reject numbers.
func numbers(c *cli.Context) ([]int64, error) {
	var list []int64
	for _, arg := range c.Args().Slice() {
		n, err := strconv.ParseInt(arg, 10, 64)
		if err != nil || n < 1 {
			return nil, usagef("%q is not a reject's number; see: haloingest rejects ls", arg)
		}
		list = append(list, n)
	}
	return list, nil
}

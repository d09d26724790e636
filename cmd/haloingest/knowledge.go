package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"

	"haloingest/cmd/haloingest/internal/knowledge"
	"haloingest/pipeline/record"
	"haloingest/sinks/postgres"
)

func (a *app) knowledge() *cli.Command {
	common := func(flags ...cli.Flag) []cli.Flag {
		return concat([]cli.Flag{orgFlag()}, flags, storeFlags(), outputFlags())
	}
	return &cli.Command{
		Name:  "knowledge",
		Usage: "search what was learned of conversations, show a record in its conversation, or index what is searched",
		Subcommands: []*cli.Command{
			{
				Name:      "search",
				Usage:     "find conversations by what is said in them, an end user's e-mail address or a company's name, as an agent would",
				ArgsUsage: "QUERY",
				Flags: common(append(embedFlags(),
					&cli.StringFlag{Name: "end-user", Usage: "only what belongs to this end user: Halo's `ID`, external id, or e-mail address"},
					&cli.StringFlag{Name: "company", Usage: "only what belongs to this company: Halo's `ID`, external id, or name"},
					&cli.IntFlag{Name: "limit", Usage: "show at most `N` conversations", Value: 10},
				)...),
				Action: a.searchKnowledge,
			},
			{
				Name:      "show",
				Usage:     "show a record, or all that was learned of a conversation, with what it quotes",
				ArgsUsage: "RECORD|CONVERSATION",
				Flags:     common(),
				Action:    a.showKnowledge,
			},
			{
				Name:   "index",
				Usage:  "make the full-text index of what has changed; a search does so by itself, this does it ahead of time",
				Flags:  common(),
				Action: a.indexKnowledge,
			},
			{
				Name:   "embed",
				Usage:  "give records and chunks vectors by a model, so that a search finds what is said in other words",
				Flags:  common(embedFlags()...),
				Action: a.embedKnowledge,
			},
		},
	}
}

// unknown makes a usage error of one that says that something is not there.
func unknown(err error, see string) error {
	if errors.Is(err, postgres.ErrNotFound) {
		return usagef("%w; %s", err, see)
	}
	return err
}

func (a *app) searchKnowledge(c *cli.Context) error {
	q := postgres.SearchQuery{Text: strings.TrimSpace(record.CleanText(strings.Join(c.Args().Slice(), " "))), Limit: c.Int("limit")}
	if q.Text == "" {
		return usagef("knowledge search needs words to search for")
	}
	if q.Limit < 1 || q.Limit > 1000 {
		return usagef("--limit %d: want 1 to 1000", q.Limit)
	}
	ws, err := a.openKnown(c)
	if err != nil {
		return err
	}
	defer ws.close()
	if ref := c.String("end-user"); ref != "" {
		if q.EndUser, err = ws.EndUser(c.Context, ws.org, ref); err != nil {
			return unknown(err, "want Halo's id, an external id, or an e-mail address")
		}
	}
	if ref := c.String("company"); ref != "" {
		if q.Company, err = ws.Company(c.Context, ws.org, ref); err != nil {
			return unknown(err, "want Halo's id, an external id, or a name")
		}
	}
	if q.Vector, err = a.queryVector(c, ws, q.Text); err != nil {
		return err
	}
	hits, err := ws.Search(c.Context, ws.org, q)
	if err != nil {
		return err
	}
	return a.result(hits, func(w io.Writer) { knowledge.PrintHits(w, hits) })
}

func (a *app) showKnowledge(c *cli.Context) error {
	if c.Args().Len() != 1 {
		return usagef("knowledge show takes one record or conversation; see: haloingest knowledge search")
	}
	ws, err := a.openKnown(c)
	if err != nil {
		return err
	}
	defer ws.close()
	learned, err := ws.Knowledge(c.Context, ws.org, c.Args().First())
	if err != nil {
		return unknown(err, "a conversation has none if its customer is not known, or a learning rule keeps it out")
	}
	return a.result(learned, func(w io.Writer) { knowledge.Print(w, learned) })
}

func (a *app) indexKnowledge(c *cli.Context) error {
	ws, err := a.openKnownAlone(c)
	if err != nil {
		return err
	}
	defer ws.close()
	report, err := ws.IndexKnowledge(c.Context, ws.org)
	if err != nil {
		return err
	}
	return a.result(report, func(w io.Writer) {
		if report.Made+report.Removed == 0 {
			fmt.Fprintln(w, "The index is up to date.")
			return
		}
		fmt.Fprintf(w, "Indexed %s conversations, removed %s, in %s.\n", count(report.Made), count(report.Removed), span(report.Took))
	})
}

package main

import (
	"fmt"
	"io"

	"github.com/urfave/cli/v2"

	"haloingest/cmd/haloingest/internal/cutover"
)

func (a *app) cutover() *cli.Command {
	return &cli.Command{
		Name:  "cutover",
		Usage: "go through the checklist of the migration, and say whether Intercom is SAFE or NOT SAFE to disconnect",
		Description: `It looks at the database only and changes nothing. What Intercom has and Halo has not is for a diff to find; the
checklist wants a recent one at level full.

Exit codes: 0 safe; 1 not safe; 3 nothing fails, but something could not be looked at.`,
		Flags: concat([]cli.Flag{
			orgFlag(),
			&cli.StringFlag{Name: "report", Usage: "write the checklist, to sign and archive, and the inventory of attachments into the folder `DIR`"},
			&cli.DurationFlag{Name: "max-sync-age", Usage: "`SPAN` that the last complete sync may be old", Value: cutover.DefaultMaxSyncAge},
			&cli.DurationFlag{Name: "max-diff-age", Usage: "`SPAN` that the diff may be old", Value: cutover.DefaultMaxDiffAge},
			&cli.BoolFlag{Name: "attachments-wanted", Usage: "fail if files are not saved, even if no run was asked to save any"},
			&cli.IntFlag{Name: "accept-unsaved", Usage: "let `N` wanted files be missing, after you have looked at them", DefaultText: "none"},
		}, storeFlags(), outputFlags()),
		Action: a.checkCutover,
	}
}

func (a *app) checkCutover(c *cli.Context) error {
	if err := noOperands(c); err != nil {
		return err
	}
	unsaved, err := atLeastZero(c, "accept-unsaved")
	if err != nil {
		return err
	}
	options := cutover.Options{
		AcceptUnsaved: int64(unsaved),
		MaxSyncAge:    c.Duration("max-sync-age"), MaxDiffAge: c.Duration("max-diff-age"),
		AttachmentsWanted: c.Bool("attachments-wanted"), Program: "haloingest " + version,
	}
	if options.MaxSyncAge <= 0 || options.MaxDiffAge <= 0 {
		return usagef("--max-sync-age and --max-diff-age want a span above zero, such as 2h")
	}
	ws, err := a.openKnown(c)
	if err != nil {
		return err
	}
	defer ws.close()
	store := cutover.Store{DB: ws.DB, Connections: ws.connections}
	dir := c.String("report")
	if dir == "" {
		e, err := cutover.Look(c.Context, store, ws.org, nil, nil)
		if err != nil {
			return err
		}
		return a.showCutover(cutover.Judge(e, options), "")
	}
	w, err := cutover.Create(dir)
	if err != nil {
		return usagef("--report: %w", err)
	}
	list, err := writeCutover(c, w, store, ws, options)
	if err != nil {
		if derr := w.Discard(); derr != nil {
			ws.log.Warn("remove an unfinished report", "error", derr)
		}
		return err
	}
	return a.showCutover(list, dir)
}

func writeCutover(c *cli.Context, w *cutover.Writer, store cutover.Store, ws *workspace, o cutover.Options) (cutover.Checklist, error) {
	e, err := cutover.Look(c.Context, store, ws.org, w.Attachment, w.Incomplete)
	if err != nil {
		return cutover.Checklist{}, err
	}
	list := cutover.Judge(e, o)
	if _, err := w.Close(list); err != nil {
		return list, &exitError{exitUsage, fmt.Errorf("--report: %w", err)}
	}
	return list, nil
}

func (a *app) showCutover(list cutover.Checklist, dir string) error {
	err := a.result(list, func(out io.Writer) {
		if dir != "" {
			fmt.Fprintf(out, "The report, to be signed and kept: %s\n\n", dir)
		}
		_ = cutover.Text(out, list) // a result that does not get out is noticed by exit
	})
	if err != nil {
		return err
	}
	return quiet(list.ExitCode)
}

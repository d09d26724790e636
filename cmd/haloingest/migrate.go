package main

import (
	"fmt"
	"io"

	"github.com/urfave/cli/v2"
)

func (a *app) migrate() *cli.Command {
	return &cli.Command{
		Name:  "migrate",
		Usage: "bring the database schema up to date, or show how it stands",
		Subcommands: []*cli.Command{
			{
				Name:   "up",
				Usage:  "apply what is missing (every command does this on first use)",
				Flags:  concat(storeFlags(), outputFlags()),
				Action: a.migrateUp,
			},
			{
				Name:   "status",
				Usage:  "list the migrations and when each was applied; changes nothing",
				Flags:  concat(storeFlags(), outputFlags()),
				Action: a.migrateStatus,
			},
		},
	}
}

func (a *app) migrateUp(c *cli.Context) error {
	db, err := a.openDatabase(c)
	if err != nil {
		return err
	}
	defer db.close()
	applied, err := db.Migrate(c.Context)
	if err != nil {
		return err
	}
	out := struct {
		Applied []string `json:"applied"`
	}{append([]string{}, applied...)}
	return a.result(out, func(w io.Writer) {
		if len(applied) == 0 {
			fmt.Fprintln(w, "The schema is up to date.")
		}
		for _, name := range applied {
			fmt.Fprintf(w, "applied %s\n", name)
		}
	})
}

func (a *app) migrateStatus(c *cli.Context) error {
	db, err := a.openDatabase(c)
	if err != nil {
		return err
	}
	defer db.close()
	list, err := db.Migrations(c.Context)
	if err != nil {
		return err
	}
	return a.result(list, func(w io.Writer) {
		var rows [][]string
		for _, m := range list {
			rows = append(rows, []string{m.Name, moment(m.AppliedAt, "not yet")})
		}
		table(w, []string{"migration", "applied"}, rows)
	})
}

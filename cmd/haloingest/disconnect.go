package main

import (
	"fmt"
	"io"

	"github.com/urfave/cli/v2"
)

func (a *app) disconnect() *cli.Command {
	return &cli.Command{
		Name:  "disconnect",
		Usage: "delete the stored secrets and stop ingesting; what was ingested stays",
		Flags: concat([]cli.Flag{orgFlag()}, storeFlags(), outputFlags()),
		Action: func(c *cli.Context) error {
			ws, err := a.open(c)
			if err != nil {
				return err
			}
			defer ws.close()
			if _, err := ws.connections.Get(c.Context, ws.org); err != nil {
				return err
			}
			had, err := ws.connections.Disconnect(c.Context, ws.org)
			if err != nil {
				return err
			}
			out := struct {
				Org          string `json:"org"`
				Disconnected bool   `json:"disconnected"`
			}{ws.org.String(), had}
			return a.result(out, func(w io.Writer) {
				if !had {
					fmt.Fprintf(w, "Organisation %s was disconnected already.\n", ws.org)
					return
				}
				fmt.Fprintf(w, "Disconnected %s: its secrets are deleted, its rows stay.\n", ws.org)
			})
		},
	}
}

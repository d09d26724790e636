package main

import (
	"cmp"
	"fmt"
	"io"
	"log/slog"
	"strings"

	"github.com/urfave/cli/v2"

	"haloingest/cmd/haloingest/internal/connection"
	"haloingest/cmd/haloingest/internal/ingest"
	"haloingest/cmd/haloingest/internal/onboard"
	"haloingest/cmd/haloingest/internal/secret"
	"haloingest/sources/intercom"
)

func (a *app) connect() *cli.Command {
	return &cli.Command{
		Name:  "connect",
		Usage: "check a workspace's token, store it sealed, and backfill everything",
		Flags: concat([]cli.Flag{
			orgFlag(),
			&cli.StringFlag{Name: "region", Usage: "`REGION` of the workspace: us, eu or au"},
			&cli.StringFlag{Name: "token-file", Usage: "`FILE` with the access token, - for standard input (or HALOINGEST_TOKEN)"},
			&cli.StringFlag{Name: "user-id-field", Usage: "contact `FIELD` that is Halo's external_id: external_id, id, email, custom_attributes.NAME", Value: connection.DefaultUserIDField},
			&cli.StringFlag{Name: "company-id-field", Usage: "company `FIELD` that is Halo's external_id: company_id, id, name, custom_attributes.NAME", Value: connection.DefaultCompanyIDField},
			&cli.DurationFlag{Name: "activity-refresh", Usage: "how often open conversations are read again: a `SPAN` such as 6h", Value: connection.DefaultActivityRefresh},
			&cli.StringFlag{Name: "webhook-secret-file", Usage: "`FILE` with the secret that signs webhooks, - for standard input (or HALOINGEST_WEBHOOK_SECRET)"},
			&cli.DurationFlag{Name: "webhook-secret-grace", Usage: "how long a webhook secret that is replaced still signs: a `SPAN` such as 1h"},
			&cli.BoolFlag{Name: "no-backfill", Usage: "only connect"},
		}, keepFlags(), attachmentFlags(), modelFlags(), apiFlags(), storeFlags(), outputFlags()),
		Action: a.connectWorkspace,
	}
}

func (a *app) connectWorkspace(c *cli.Context) error {
	if err := noOperands(c); err != nil {
		return err
	}
	if _, err := org(c); err != nil {
		return err
	}
	set := connection.Settings{
		Region:          strings.ToLower(c.String("region")),
		UserIDField:     cmp.Or(c.String("user-id-field"), connection.DefaultUserIDField),
		CompanyIDField:  cmp.Or(c.String("company-id-field"), connection.DefaultCompanyIDField),
		ActivityRefresh: c.Duration("activity-refresh"),
		WebhookGrace:    c.Duration("webhook-secret-grace"),
	}
	if set.Region == "" {
		return usagef("--region is missing: us, eu or au")
	}
	if err := settingFlag(set.Validate()); err != nil {
		return err
	}
	if c.String("token-file") == "-" && c.String("webhook-secret-file") == "-" {
		return usagef("--token-file and --webhook-secret-file cannot both be standard input")
	}
	token, err := a.readSecret(c, "token")
	if err != nil {
		return err
	}
	if token.IsEmpty() {
		return usagef("the access token is missing: name a file with --token-file, or set HALOINGEST_TOKEN")
	}
	webhook, err := a.readSecret(c, "webhook-secret")
	if err != nil {
		return err
	}
	cfg, err := a.config(c)
	if err != nil {
		return err
	}
	desk := onboard.Options{Log: a.logger(cfg), Client: func(region string, token secret.Text) (*intercom.Client, error) {
		return newClient(region, token, promptly(cfg, a.logger(cfg)))
	}}
	// Before the database is opened, or started: a token that is not good leaves nothing behind.
	access, err := onboard.New(desk).Check(c.Context, set.Region, token)
	if err != nil {
		return err
	}
	for _, warning := range access.Warnings {
		desk.Log.Warn(warning)
	}

	ws, err := a.open(c)
	if err != nil {
		return err
	}
	defer ws.close()
	// What the backfill is to do besides is looked at before anything is stored.
	var with ingest.Runner
	if with.Distiller, err = a.distiller(c, ws); err != nil {
		return err
	}
	if !c.Bool("no-backfill") {
		if with.Attachments, err = attachments(c); err != nil {
			return err
		}
		done, err := a.keep(c, ws, &with)
		if err != nil {
			return err
		}
		defer done()
	}
	desk.DB, desk.Connections = ws.DB, ws.connections
	conn, err := onboard.New(desk).Connect(c.Context, onboard.Request{Org: ws.org, Settings: set, Token: token, Webhook: webhook, Access: &access}, nil)
	if err != nil {
		return err
	}
	said := fmt.Sprintf("Connected %s to organisation %s.", workspaceName(conn), conn.Org)
	if c.Bool("no-backfill") {
		return a.result(conn, func(w io.Writer) {
			fmt.Fprintln(w, said)
			fmt.Fprintf(w, "Load its history with: haloingest backfill --org %s\n", conn.Org)
		})
	}
	say(a.stderr, a.jsonLogs, slog.LevelInfo, said)
	client, err := newClient(set.Region, token, clientOptions(cfg, ws.log))
	if err != nil {
		return err
	}
	defer client.Close()
	runner := ws.runner(c, conn, client)
	runner.Distiller, runner.Attachments, runner.Snapshot = with.Distiller, with.Attachments, with.Snapshot
	return a.execute(c, runner, ingest.Request{Kind: ingest.KindBackfill})
}

// workspaceName names a workspace for people. Intercom need not tell whose a token is.
func workspaceName(conn connection.Connection) string {
	if conn.Workspace.ID == "" {
		return fmt.Sprintf("a workspace that Intercom does not name (region %s)", conn.Region)
	}
	return fmt.Sprintf("workspace %q (%s, region %s)", conn.Workspace.Name, conn.Workspace.ID, conn.Region)
}

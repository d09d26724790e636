package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/urfave/cli/v2"

	"haloingest/cmd/haloingest/internal/connection"
)

func (a *app) settings() *cli.Command {
	return &cli.Command{
		Name:  "settings",
		Usage: "show a workspace's settings, or change those that are given",
		Flags: concat([]cli.Flag{
			orgFlag(),
			&cli.StringFlag{Name: "ingest", Usage: "`on` or off: off stops syncs and webhooks"},
			&cli.DurationFlag{Name: "activity-refresh", Usage: "how often open conversations are read again: a `SPAN` such as 6h", DefaultText: "as it is"},
			&cli.StringFlag{Name: "user-id-field", Usage: "contact `FIELD` that is Halo's external_id: external_id, id, email, custom_attributes.NAME"},
			&cli.StringFlag{Name: "company-id-field", Usage: "company `FIELD` that is Halo's external_id: company_id, id, name, custom_attributes.NAME"},
			&cli.StringFlag{Name: "webhook-secret-file", Usage: "`FILE` with the secret that signs webhooks, - for standard input (or HALOINGEST_WEBHOOK_SECRET)"},
			&cli.DurationFlag{Name: "webhook-secret-grace", Usage: "how long a webhook secret that is replaced still signs: a `SPAN` such as 1h"},
		}, storeFlags(), outputFlags()),
		Action: a.changeSettings,
	}
}

func (a *app) changeSettings(c *cli.Context) error {
	if err := noOperands(c); err != nil {
		return err
	}
	if _, err := org(c); err != nil {
		return err
	}
	on, off := c.String("ingest") == "on", c.String("ingest") == "off"
	if c.IsSet("ingest") && !on && !off {
		return usagef("--ingest %q: want on or off", c.String("ingest"))
	}
	set := connection.Settings{
		UserIDField: c.String("user-id-field"), CompanyIDField: c.String("company-id-field"), ActivityRefresh: c.Duration("activity-refresh"),
		WebhookGrace: c.Duration("webhook-secret-grace"),
	}
	for _, flag := range []string{"user-id-field", "company-id-field"} {
		if c.IsSet(flag) && c.String(flag) == "" {
			return usagef("--%s is empty: name a field, or leave the flag away", flag)
		}
	}
	if c.IsSet("activity-refresh") && set.ActivityRefresh == 0 {
		return usagef("--activity-refresh 0s: want a span from 1m to 720h (30 days), such as 6h")
	}
	// All that is given is looked at before any of it is changed.
	if err := settingFlag(set.ValidateChange()); err != nil {
		return err
	}
	webhook, err := a.readSecret(c, "webhook-secret")
	if err != nil {
		return err
	}
	if webhook.IsEmpty() && set.WebhookGrace != 0 {
		return usagef("--webhook-secret-grace is for a secret that is replaced: name the new one with --webhook-secret-file")
	}
	ws, err := a.openKnown(c)
	if err != nil {
		return err
	}
	defer ws.close()
	if set != (connection.Settings{}) {
		if _, err := ws.connections.Configure(c.Context, ws.org, set); err != nil {
			return settingFlag(err)
		}
	}
	if !webhook.IsEmpty() {
		if err := ws.connections.SetWebhookSecret(c.Context, ws.org, webhook, set.WebhookGrace); err != nil {
			return settingFlag(err)
		}
	}
	if on || off {
		if _, err := ws.connections.SetIngest(c.Context, ws.org, on); err != nil {
			return err
		}
	}
	conn, err := ws.connections.Get(c.Context, ws.org)
	if err != nil {
		return err
	}
	return a.result(conn, func(w io.Writer) { printSettings(w, conn) })
}

// settingFlag names the flag of a setting that cannot be used.
func settingFlag(err error) error {
	var bad *connection.SettingError
	if errors.As(err, &bad) {
		return usagef("--%s %q: want %s", strings.ReplaceAll(bad.Setting, "_", "-"), bad.Value, bad.Want)
	}
	return err
}

func printSettings(w io.Writer, conn connection.Connection) {
	ingest := "on"
	switch {
	case !conn.Connected:
		ingest = "off: disconnected"
	case !conn.IngestEnabled:
		ingest = "off"
	}
	fmt.Fprintf(w, "Organisation %s\n", conn.Org)
	fields(w,
		"connected to", workspaceName(conn),
		"ingest", ingest,
		"webhook secret", map[bool]string{true: "configured", false: "not configured"}[conn.HasWebhookSecret],
		"user_id_field", conn.UserIDField,
		"company_id_field", conn.CompanyIDField,
		"activity_refresh", shortDuration(conn.ActivityRefresh),
	)
	if conn.FullReadDue {
		fmt.Fprintf(w, "\nThe fields have changed since everything was read. Read it once more with: haloingest backfill --org %s --restart\n", conn.Org)
	}
}

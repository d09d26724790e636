package main

import (
	"context"
	"errors"
	"log/slog"

	"github.com/urfave/cli/v2"

	"haloingest/cmd/haloingest/internal/config"
	"haloingest/cmd/haloingest/internal/connection"
	"haloingest/pipeline/record"
	"haloingest/sinks/postgres"
	"haloingest/sinks/postgres/localpg"
)

// database is an open database and, where none was named, the private server behind it.
type database struct {
	*postgres.DB
	url     string          // which may hold a password
	private *localpg.Server // nil with --database-url
	cfg     config.Config
	log     *slog.Logger
}

func (d *database) close() {
	if d.DB != nil {
		d.DB.Close()
	}
	if d.private != nil {
		if err := d.private.Close(); err != nil {
			d.log.Warn("stop the private PostgreSQL", "error", err)
		}
	}
}

// openDatabase connects to --database-url, or starts the private server.
func (a *app) openDatabase(c *cli.Context) (*database, error) {
	if err := noOperands(c); err != nil {
		return nil, err
	}
	return a.openDatabaseAllowing(c)
}

func (a *app) openDatabaseAllowing(c *cli.Context) (*database, error) {
	cfg, err := a.config(c)
	if err != nil {
		return nil, err
	}
	return a.openDatabaseOf(c, cfg)
}

func (a *app) openDatabaseOf(c *cli.Context, cfg config.Config) (*database, error) {
	d, err := a.reachDatabase(c, cfg)
	if err != nil {
		return nil, err
	}
	d.DB, err = postgres.Open(c.Context, d.url, postgres.Options{Logger: d.log, AppName: "haloingest " + c.Command.Name})
	if err != nil {
		if d.private != nil {
			err = errors.Join(err, d.private.Close())
		}
		return nil, err
	}
	return d, nil
}

// reachDatabase finds out where the database is, and starts the private server if that is it. It opens no connection.
func (a *app) reachDatabase(c *cli.Context, cfg config.Config) (*database, error) {
	d := &database{url: cfg.DatabaseURL, cfg: cfg, log: a.logger(cfg)}
	if d.url != "" {
		return d, nil
	}
	var err error
	if d.private, err = localpg.Start(c.Context, localpg.Options{DataDir: cfg.DataDir, Log: d.log}); err != nil {
		return nil, &exitError{privateServerCode(err), err}
	}
	d.url = d.private.URL()
	return d, nil
}

func privateServerCode(err error) int {
	if errors.Is(err, localpg.ErrNotFound) {
		return exitUsage
	}
	return exitDatabase
}

// workspace is an open database with the schema up to date, seen by one organisation.
type workspace struct {
	*database
	org         record.UUID
	connections *connection.Store
}

// open reads --org, opens the database and brings its schema up to date.
func (a *app) open(c *cli.Context) (*workspace, error) {
	if err := noOperands(c); err != nil {
		return nil, err
	}
	return a.openAllowing(c)
}

// openKnown is openAllowing for commands about an organisation that must have been connected once.
func (a *app) openKnown(c *cli.Context) (*workspace, error) {
	ws, err := a.openAllowing(c)
	if err != nil {
		return nil, err
	}
	if _, err := ws.connections.Get(c.Context, ws.org); err != nil {
		ws.close()
		return nil, err
	}
	return ws, nil
}

// openAllowing is open for commands that take operands.
func (a *app) openAllowing(c *cli.Context) (*workspace, error) {
	id, err := org(c)
	if err != nil {
		return nil, err
	}
	d, err := a.openDatabaseAllowing(c)
	if err != nil {
		return nil, err
	}
	if err := d.upgrade(c.Context); err != nil {
		d.close()
		return nil, err
	}
	d.log = d.log.With("org", id.String())
	return &workspace{database: d, org: id, connections: connection.NewStore(d.Pool(), d.cfg.MasterKey)}, nil
}

// upgrade applies missing migrations and says which.
func (d *database) upgrade(ctx context.Context) error {
	applied, err := d.Migrate(ctx)
	if err != nil {
		return err
	}
	if len(applied) > 0 {
		d.log.Info("brought the database schema up to date", "migrations", len(applied))
	}
	return nil
}

package main

import (
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/urfave/cli/v2"

	"haloingest/cmd/haloingest/internal/connection"
)

func (a *app) keys() *cli.Command {
	flags := concat(storeFlags(), outputFlags())
	return &cli.Command{
		Name:  "keys",
		Usage: "look at the keys that seal tokens and webhook secrets, and rotate them",
		Subcommands: []*cli.Command{
			{
				Name:  "rotate",
				Usage: "seal everything with a new key and disable the one before; or, with --master, seal the keys with another master key",
				Description: "Everything goes on meanwhile. A rotation can be stopped anywhere: until it is run again, the old key opens what it has sealed.\n" +
					"With --master no secret is touched: the keys themselves, which --old-master-key-file (or HALOINGEST_OLD_MASTER_KEY) opens, are sealed with the\n" +
					"present master key. Start other processes with both first. An encrypted snapshot keeps the master key that it was made with.",
				Flags: concat([]cli.Flag{
					&cli.DurationFlag{Name: "keep-old", Usage: "delete the old key `SPAN` after it was disabled, by serve or by a later rotate; 0: at once", Value: connection.DefaultKeepOld},
					&cli.BoolFlag{Name: "master", Usage: "change the master key instead"},
				}, flags),
				Action: a.rotateKeys,
			},
			{
				Name:   "ls",
				Usage:  "list the keys, since when they seal, and how many secrets each has sealed",
				Flags:  flags,
				Action: a.listKeys,
			},
			{
				Name:      "enable",
				Usage:     "let a disabled key open again, for connections that were put back from a copy; then run: haloingest keys rotate",
				ArgsUsage: "KEY",
				Flags:     flags,
				Action:    a.enableKey,
			},
		},
	}
}

// openKeys opens the database for what concerns all organisations.
func (a *app) openKeys(c *cli.Context) (*database, *connection.Store, error) {
	d, err := a.openDatabaseAllowing(c)
	if err != nil {
		return nil, nil, err
	}
	if err := d.upgrade(c.Context); err != nil {
		d.close()
		return nil, nil, err
	}
	return d, connection.NewStore(d.Pool(), d.cfg.MasterKey), nil
}

func (a *app) rotateKeys(c *cli.Context) error {
	if err := noOperands(c); err != nil {
		return err
	}
	keep := c.Duration("keep-old")
	if keep < 0 {
		return usagef("--keep-old %s: want 0 or more", keep)
	}
	d, store, err := a.openKeys(c)
	if err != nil {
		return err
	}
	defer d.close()
	if c.Bool("master") {
		change, err := store.ChangeMaster(c.Context)
		if err != nil {
			return keysError(err)
		}
		return a.result(change, func(w io.Writer) { printMasterChange(w, change) })
	}
	r, err := store.Rotate(c.Context, connection.RotateOptions{KeepOld: keep, Log: d.log})
	if err != nil {
		return keysError(err)
	}
	if err := a.result(r, func(w io.Writer) { printRotation(w, r, keep) }); err != nil {
		return err
	}
	if len(r.Unreadable) > 0 {
		return quiet(exitDiffers)
	}
	return nil
}

func (a *app) listKeys(c *cli.Context) error {
	if err := noOperands(c); err != nil {
		return err
	}
	d, store, err := a.openKeys(c)
	if err != nil {
		return err
	}
	defer d.close()
	k, err := store.Keys(c.Context)
	if err != nil {
		return keysError(err)
	}
	return a.result(k, func(w io.Writer) { printKeys(w, k) })
}

func (a *app) enableKey(c *cli.Context) error {
	if c.NArg() != 1 {
		return usagef("want the number of one key, as haloingest keys ls shows it")
	}
	id, err := strconv.ParseUint(c.Args().First(), 10, 32)
	if err != nil {
		return usagef("%q is no key: want a number, as haloingest keys ls shows it", c.Args().First())
	}
	d, store, err := a.openKeys(c)
	if err != nil {
		return err
	}
	defer d.close()
	if err := store.EnableKey(c.Context, uint32(id)); err != nil {
		return keysError(err)
	}
	k, err := store.Keys(c.Context)
	if err != nil {
		return keysError(err)
	}
	return a.result(k, func(w io.Writer) { printKeys(w, k) })
}

func keysError(err error) error {
	if errors.Is(err, connection.ErrPart) || errors.Is(err, connection.ErrNoKey) {
		return usagef("%w", err)
	}
	return err
}

func printMasterChange(w io.Writer, change connection.MasterChange) {
	switch {
	case change.From == "":
		fmt.Fprintln(w, "Nothing is sealed yet: the first connect will use the present master key.")
	case !change.Changed:
		fmt.Fprintf(w, "The keys are sealed with the present master key, from %s, already.\n", change.From)
	default:
		fmt.Fprintf(w, "The keys are sealed with the master key from %s now, and no longer with the one from %s.\n", change.To, change.From)
		fmt.Fprintln(w, "Keep the old one for as long as there are backups of the database or encrypted snapshots of its time.")
	}
}

func printRotation(w io.Writer, r connection.Rotation, keep time.Duration) {
	if r.Key == 0 {
		fmt.Fprintln(w, "Nothing is sealed yet: there are no keys.")
		return
	}
	began := ""
	if r.Resumed {
		began = ", of a rotation that was under way"
	}
	fmt.Fprintf(w, "Key %d seals now%s. %s sealed with it anew.\n", r.Key, began, secretsWere(r.Resealed))
	if old := slices.DeleteFunc(slices.Clone(r.Disabled), func(id uint32) bool { return slices.Contains(r.Deleted, id) }); len(old) > 0 {
		fmt.Fprintf(w, "Disabled, and to be deleted in %s: %s.\n", shortDuration(keep), joinKeys(old))
	}
	if len(r.Deleted) > 0 {
		fmt.Fprintf(w, "Deleted: %s.\n", joinKeys(r.Deleted))
	}
	if len(r.Unreadable) == 0 {
		return
	}
	fmt.Fprintln(w, "\nThese do not open, so their key was left as it is. Connect the organisation again, or set its webhook secret; then rotate again:")
	var rows [][]string
	for _, x := range r.Unreadable {
		key := "none"
		if x.Key != 0 {
			key = strconv.FormatUint(uint64(x.Key), 10)
		}
		rows = append(rows, []string{x.Org.String(), x.Column, key})
	}
	table(w, []string{"organisation", "column", "key"}, rows)
}

func secretsWere(n int64) string {
	if n == 1 {
		return "1 secret was"
	}
	return count(n) + " secrets were"
}

func joinKeys(ids []uint32) string {
	var words []string
	for _, id := range ids {
		words = append(words, "key "+strconv.FormatUint(uint64(id), 10))
	}
	return strings.Join(words, ", ")
}

func printKeys(w io.Writer, k connection.Keys) {
	if k.MasterKey == "" {
		fmt.Fprintln(w, "Nothing is sealed yet: there are no keys.")
	} else {
		old := ""
		if k.Old {
			old = ", the old one; run: haloingest keys rotate --master"
		}
		fmt.Fprintf(w, "Sealed with the master key from %s%s\n\n", k.MasterKey, old)
		states := map[string]string{
			connection.KeyPrimary:  "seals",
			connection.KeyAdded:    "added; run: haloingest keys rotate",
			connection.KeyOpens:    "opens only; run: haloingest keys rotate",
			connection.KeyDisabled: "disabled",
		}
		var rows [][]string
		for _, key := range k.Keys {
			state := states[key.State]
			if !key.DeleteAfter.IsZero() {
				state += "; deleted after " + moment(key.DeleteAfter, "")
			}
			rows = append(rows, []string{strconv.FormatUint(uint64(key.ID), 10), count(key.Secrets), moment(key.CreatedAt, ""), moment(key.PrimaryAt, "never"), state})
		}
		table(w, []string{"key", "secrets", "made", "sealing since", "state"}, rows)
	}
	if k.Unknown > 0 {
		fmt.Fprintf(w, "\n%s sealed with keys that are not here. Nothing opens them: connect the organisations again.\n", secretsWere(k.Unknown))
	}
}

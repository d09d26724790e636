package main

import (
	"errors"
	"fmt"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/urfave/cli/v2"

	"haloingest/cmd/haloingest/internal/ingest"
	"haloingest/pipeline/record"
	"haloingest/sources/intercom"
)

const categoryAttachments = "Attachments"

// attachmentFlags are common to the commands that can save files.
func attachmentFlags() []cli.Flag {
	return []cli.Flag{
		&cli.StringFlag{Name: "attachments", Usage: "save the files of conversations and tickets in `DIR`, before their links run out", Category: categoryAttachments},
		&cli.StringFlag{Name: "attachments-max-bytes", Usage: "save no file that is larger than `SIZE`", Value: "100MiB", Category: categoryAttachments},
		&cli.StringFlag{Name: "attachments-rate", Usage: "download at most `SIZE` a second, all files together", DefaultText: "as fast as it goes", Category: categoryAttachments},
	}
}

// attachments reads the flags above; nil says that files are not to be saved.
func attachments(c *cli.Context) (*intercom.AttachmentOptions, error) {
	dir := c.String("attachments")
	if dir == "" {
		return nil, nil
	}
	o := &intercom.AttachmentOptions{Dir: dir}
	for flag, into := range map[string]*int64{"attachments-max-bytes": &o.MaxBytes, "attachments-rate": &o.Rate} {
		text := c.String(flag)
		if text == "" {
			continue
		}
		n, ok := parseSize(text)
		if !ok {
			return nil, usagef("--%s: cannot read %q; want bytes, such as 1048576, 500kB, 20MB, 100MiB, 1.5GiB", flag, text)
		}
		*into = n
	}
	// Made here, so that a wrong folder is found before anything is asked for.
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, usagef("--attachments: %w", err)
	}
	if err := writable(dir); err != nil {
		return nil, usagef("--attachments: no file can be made in %s (%w); make it writable for this user, or name another folder", dir, err)
	}
	if abs, err := filepath.Abs(dir); err == nil {
		o.Dir = abs
	}
	return o, nil
}

// writable tries whether a file can be made in a folder.
func writable(dir string) error {
	f, err := os.CreateTemp(dir, ".haloingest-*")
	if err == nil {
		err = errors.Join(f.Close(), os.Remove(f.Name()))
	}
	return err
}

// units of sizes, in lower case and without the B.
var units = map[string]float64{"": 1, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12, "ki": 1 << 10, "mi": 1 << 20, "gi": 1 << 30, "ti": 1 << 40}

// parseSize reads a number of bytes, 1 or more.
func parseSize(text string) (int64, bool) {
	text = strings.ToLower(strings.TrimSpace(text))
	end := strings.LastIndexAny(text, "0123456789.") + 1
	n, err := strconv.ParseFloat(text[:end], 64)
	factor, ok := units[strings.TrimSuffix(strings.TrimSpace(text[end:]), "b")]
	n *= factor
	if err != nil || !ok || math.IsNaN(n) || n < 1 || n > 1<<60 {
		return 0, false
	}
	return int64(n), true
}

// attachmentReasons says what the reasons of files that are not saved mean, in the order in which they are told.
var attachmentReasons = [...]struct{ reason, meaning string }{
	{record.AttachmentUnavailable, "could not be downloaded"},
	{record.AttachmentRefused, "refused by their host, also with a fresh link"},
	{record.AttachmentTooLarge, "larger than --attachments-max-bytes"},
	{record.AttachmentForeign, "outside of Intercom's hosts, and so not asked for"},
	{record.AttachmentNoAddress, "without an address"},
}

// attachmentLines is what a report says of files, as pairs of name and text.
func attachmentLines(a *ingest.AttachmentReport) []string {
	if a == nil {
		return nil
	}
	saved := fmt.Sprintf("%s saved (%s)", count(a.Saved), size(a.Bytes))
	if a.Held > 0 {
		saved += fmt.Sprintf(", %s saved before", count(a.Held))
	}
	if a.OddSize > 0 {
		saved += fmt.Sprintf("; %s of them not of the size that Intercom states", count(a.OddSize))
	}
	lines := []string{"attachments", saved}
	if n := a.Failed(); n > 0 {
		var why []string
		for _, r := range attachmentReasons {
			if k := a.NotSaved[r.reason]; k > 0 {
				why = append(why, fmt.Sprintf("%s %s", count(k), r.meaning))
			}
		}
		lines = append(lines, "not saved", count(n)+": "+strings.Join(why, "; "))
	}
	if a.Lacking > 0 {
		lines = append(lines, "not asked for", fmt.Sprintf("files of %s objects that this run had loaded before --attachments was given; backfill --restart asks for them", count(a.Lacking)))
	}
	return lines
}

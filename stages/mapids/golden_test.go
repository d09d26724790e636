package mapids_test

import (
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"haloingest/pipeline/record"
	"haloingest/stages/extract"
	"haloingest/stages/mapids"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestTheSamplesOfExtractGiveTheirGoldenRows shows what the two stages make of one object of each kind.
// A digest that changes here means that every row in every database is written again: raise
// record.DigestVersion on purpose, or do not change it.
func TestTheSamplesOfExtractGiveTheirGoldenRows(t *testing.T) {
	files, err := filepath.Glob("../extract/testdata/*.json")
	if err != nil || len(files) == 0 {
		t.Fatal("no samples: ", err)
	}
	ref := record.Reference{Admins: map[string]record.Admin{"991267645": {Name: "Ciaran Lee"}}, Teams: map[string]string{"5017691": "Support"}, Tags: map[string]string{"5": "vip"}}
	reading := extract.New(extract.Options{Reference: ref})
	mapping, err := mapids.New(mapids.Config{Org: org, Reference: ref})
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range files {
		name := strings.TrimSuffix(filepath.Base(f), ".json")
		t.Run(name, func(t *testing.T) {
			body, err := os.ReadFile(f)
			if err != nil {
				t.Fatal(err)
			}
			kind, _, _ := strings.Cut(name, "_")
			if kind == "user" {
				kind = "contact"
			}
			items, err := reading.Process(context.Background(), []record.Object{{Kind: record.Kind(kind), Body: body, FetchedAt: time.Unix(1_750_000_000, 0).UTC()}})
			if err != nil {
				t.Fatal(err)
			}
			changes, err := mapping.Process(context.Background(), items.Items)
			if err != nil {
				t.Fatal(err)
			}
			hash := ""
			for i := range changes.Items {
				c := &changes.Items[i]
				c.Object = nil
				switch {
				case c.EndUser != nil:
					hash, c.EndUser.Hash = c.EndUser.Hash.String(), record.Digest{}
				case c.Company != nil:
					hash, c.Company.Hash = c.Company.Hash.String(), record.Digest{}
				case c.Transcript != nil:
					hash, c.Transcript.Hash = c.Transcript.Hash.String(), record.Digest{}
					c.Transcript.Messages = nil // MessagesJSON says it
				case c.Ticket != nil:
					hash, c.Ticket.Hash = c.Ticket.Hash.String(), record.Digest{}
				}
			}
			var b bytes.Buffer
			e := json.NewEncoder(&b)
			e.SetEscapeHTML(false)
			e.SetIndent("", "  ")
			if err := e.Encode(map[string]any{"hash": hash, "result": changes}); err != nil {
				t.Fatal(err)
			}
			golden := filepath.Join("testdata", name+".golden")
			if *update {
				if err := os.WriteFile(golden, b.Bytes(), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), b.String()); diff != "" {
				t.Errorf("-golden +got:\n%s", diff)
			}
		})
	}
}

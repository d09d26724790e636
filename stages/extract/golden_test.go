package extract

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
	"github.com/google/go-cmp/cmp/cmpopts"

	"haloingest/pipeline"
	"haloingest/pipeline/pipetest"
	"haloingest/pipeline/record"
)

var update = flag.Bool("update", false, "write the golden files anew")

var reference = record.Reference{
	Admins:       map[string]record.Admin{"991267645": {Name: "Ciaran Lee", Email: "ciaran@example.com"}},
	Teams:        map[string]string{"5017691": "Support"},
	Tags:         map[string]string{"5": "vip", "6": "newsletter"},
	Segments:     map[string]string{"seg1": "Active"},
	TicketTypes:  map[string]string{"95": "Incident"},
	TicketStates: map[string]record.TicketState{"8537": {Category: "submitted", InternalLabel: "New"}},
}

func objectOf(kind record.Kind, body []byte) record.Object {
	return record.Object{Kind: kind, Body: body, FetchedAt: time.Unix(1_750_000_000, 0).UTC(), Request: "GET /x", APIVersion: "2.16"}
}

// samples are the objects of testdata, by file name.
func samples(t testing.TB) (names []string, objects []record.Object) {
	files, err := filepath.Glob("testdata/*.json")
	if err != nil || len(files) == 0 {
		t.Fatal("no samples: ", err)
	}
	for _, f := range files {
		body, err := os.ReadFile(f)
		if err != nil {
			t.Fatal(err)
		}
		name := strings.TrimSuffix(filepath.Base(f), ".json")
		kind, _, _ := strings.Cut(name, "_")
		if kind == "user" {
			kind = "contact"
		}
		names = append(names, name)
		objects = append(objects, objectOf(record.Kind(kind), body))
	}
	return names, objects
}

func TestSamplesGiveTheirGoldenRecords(t *testing.T) {
	names, objects := samples(t)
	s := New(Options{Reference: reference})
	for i, name := range names {
		t.Run(name, func(t *testing.T) {
			result, err := s.Process(context.Background(), objects[i:i+1])
			if err != nil {
				t.Fatal(err)
			}
			for j := range result.Items {
				result.Items[j].Object = nil
			}
			var b bytes.Buffer
			e := json.NewEncoder(&b)
			e.SetEscapeHTML(false)
			e.SetIndent("", "  ")
			if err := e.Encode(result); err != nil {
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

func TestTheStageKeepsThePromisesOfAStage(t *testing.T) {
	pipetest.CheckStage(t, New(Options{Reference: reference}), func() []record.Object {
		_, objects := samples(t)
		return append(objects,
			objectOf(record.KindTicket, []byte(`{"id":`)), objectOf(record.KindContact, []byte(`[]`)),
			record.Object{Kind: record.KindConversation, ID: "7", Gone: record.GoneDeleted})
	}, pipetest.Compare(cmpopts.IgnoreFields(record.Object{}, "Body")) /* large, and only handed on */)
}

var _ pipeline.Stage[record.Object, record.Item] = (*Stage)(nil)

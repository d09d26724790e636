package knowledge

import (
	"bytes"
	"context"
	"encoding/json"
	"log/slog"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"haloingest/cmd/haloingest/internal/connection"
	"haloingest/cmd/haloingest/internal/ingest"
	"haloingest/pipeline"
	"haloingest/pipeline/record"
	"haloingest/sinks/postgres"
	"haloingest/sinks/postgres/localpg/pgtest"
	"haloingest/sources/intercom"
	"haloingest/sources/intercom/intercomtest"
)

// evalData is where `make eval DATA=…` looks: a folder of parts (*.jsonl), or one part.
const evalData = "HALOINGEST_EVAL_DATA"

// asked is what people wrote of a dialogue: the first sentence is about what the customer wants.
type asked struct {
	dialogue string
	first    string
	whole    string
}

// readDialogues reads all parts; without the variable a small one beside the repository, if it is there.
func readDialogues(t *testing.T) (dialogs []intercomtest.Dialog, queries []asked) {
	at := os.Getenv(evalData)
	if at == "" {
		at = filepath.Join("..", "..", "..", "..", "..", "shared", "data", "tweetsumm", "valid.jsonl")
		if _, err := os.Stat(at); os.IsNotExist(err) {
			t.Skipf("%s is not here: real dialogues are not part of the project; name a folder with %s", at, evalData)
		}
	}
	paths := []string{at}
	if !strings.HasSuffix(at, ".jsonl") {
		paths, _ = filepath.Glob(filepath.Join(at, "*.jsonl"))
	}
	if len(paths) == 0 {
		t.Fatalf("there is no *.jsonl in %s", at)
	}
	for _, path := range paths {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		list, err := intercomtest.ReadDialogs(bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		dialogs = append(dialogs, list...)
		for line := range bytes.Lines(text) {
			var d struct {
				ID          string `json:"conversation_id"`
				Annotations []struct {
					Abstractive []string `json:"abstractive"`
				} `json:"annotations"`
			}
			if len(bytes.TrimSpace(line)) == 0 {
				continue
			}
			if err := json.Unmarshal(line, &d); err != nil {
				t.Fatal(err)
			}
			for _, a := range d.Annotations {
				if whole := strings.TrimSpace(strings.Join(a.Abstractive, " ")); whole != "" {
					queries = append(queries, asked{d.ID, strings.TrimSpace(a.Abstractive[0]), whole})
				}
			}
		}
	}
	return dialogs, queries
}

// load backfills the dialogues from a simulated workspace and returns the ids of their conversations.
func load(t *testing.T, db *postgres.DB, org record.UUID, dialogs []intercomtest.Dialog) map[string]string {
	shop := intercomtest.Start(t, intercomtest.Options{Dialogs: dialogs})
	log := slog.New(slog.DiscardHandler)
	client, err := intercom.New("us", shop.Options().Token, intercom.Options{BaseURL: shop.URL, Log: log})
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	runner := &ingest.Runner{
		DB: db, Client: client, Connection: connection.Connection{Org: org, UserIDField: "external_id", CompanyIDField: "company_id"},
		Log: log, Holder: "a test", Concurrency: 16,
	}
	run, err := runner.Start(t.Context(), ingest.Request{Kind: ingest.KindBackfill})
	if err != nil {
		t.Fatal(err)
	}
	defer run.Close(t.Context())
	if report, err := run.Do(t.Context(), t.Context()); err != nil || report.Run.State != postgres.RunComplete {
		t.Fatalf("%v: %+v", err, report.Run)
	}
	ids := make(map[string]string)
	for c := range shop.Ledger().Conversations() {
		ids[c.DialogID] = c.ID
	}
	return ids
}

// recall counts how often what was meant is among the first.
type recall struct{ n, at1, at5, at10 int }

func (r *recall) add(place int) {
	r.n++
	for _, p := range []struct {
		most int
		n    *int
	}{{1, &r.at1}, {5, &r.at5}, {10, &r.at10}} {
		if place >= 0 && place < p.most {
			*p.n++
		}
	}
}

func (r *recall) share(n int) float64 { return float64(n) / float64(max(r.n, 1)) }

// TestSearchQualityOnDialogues loads real dialogues as a backfill does and searches for each by what people wrote of it. `make eval` prints
// it for all parts.
func TestSearchQualityOnDialogues(t *testing.T) {
	dialogs, queries := readDialogues(t)
	db, err := postgres.Open(t.Context(), pgtest.New(t), postgres.Options{MaxConns: runtime.GOMAXPROCS(0) + 1})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Migrate(t.Context()); err != nil {
		t.Fatal(err)
	}
	if os.Getenv(evalData) == "" { // enough to see that search has not become worse
		for i := range queries[:len(queries)/4] {
			queries[i] = queries[4*i]
		}
		queries = queries[:len(queries)/4]
	}
	org := record.UUID{1}
	ids := load(t, db, org, dialogs)
	report, err := db.IndexKnowledge(t.Context(), org)
	if err != nil {
		t.Fatal(err)
	}
	t.Logf("%d conversations indexed in %.2f s", report.Made, report.Took.Seconds())
	var first, whole recall
	var mu sync.Mutex
	var spent time.Duration
	look := func(text, id string, r *recall) error {
		begin := time.Now()
		hits, err := db.Search(t.Context(), org, postgres.SearchQuery{Text: text})
		if err != nil {
			return err
		}
		mu.Lock()
		defer mu.Unlock()
		spent += time.Since(begin)
		r.add(slices.IndexFunc(hits, func(h postgres.Hit) bool { return h.SourceID == id }))
		return nil
	}
	err = pipeline.ForEach(t.Context(), len(queries), runtime.GOMAXPROCS(0), func(_ context.Context, i int) error {
		id := ids[queries[i].dialogue]
		if err := look(queries[i].first, id, &first); err != nil {
			return err
		}
		return look(queries[i].whole, id, &whole)
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range []struct {
		name string
		*recall
	}{{"the customer's sentence of a summary", &first}, {"the whole summary", &whole}} {
		t.Logf("search by %-36s R@1 %.3f  R@5 %.3f  R@10 %.3f  (%d queries)", r.name, r.share(r.at1), r.share(r.at5), r.share(r.at10), r.n)
	}
	t.Logf("%.0f ms a search", float64(spent.Milliseconds())/float64(first.n+whole.n))
	if first.share(first.at1) < 0.74 || first.share(first.at10) < 0.86 || whole.share(whole.at1) < 0.85 {
		t.Error("search finds less than it did")
	}
}

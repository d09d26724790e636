package postgres

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"haloingest/pipeline/record"
	"haloingest/sinks/postgres/localpg/pgtest"
)

// library is a database with knowledge that is written as rows, without the loader.
type library struct {
	tb  testing.TB
	db  *DB
	org record.UUID
	run int
}

func newLibrary(tb testing.TB) *library {
	tb.Helper()
	db := openURL(tb, pgtest.New(tb))
	if _, err := db.Migrate(tb.Context()); err != nil {
		tb.Fatal(err)
	}
	return &library{tb: tb, db: db, org: record.UUID{1}}
}

func (l *library) person(id byte, email string) record.UUID {
	u := record.UUID{2, id}
	execute(l.tb, l.db, `INSERT INTO public.end_users (org_id, id, email, name, external_id) VALUES ($1, $2, $3, $4, $5)`, l.org, u, email, "Person", fmt.Sprint("p", id))
	return u
}

func (l *library) firm(id byte, name string) record.UUID {
	u := record.UUID{3, id}
	execute(l.tb, l.db, `INSERT INTO public.companies (org_id, id, name) VALUES ($1, $2, $3)`, l.org, u, name)
	return u
}

// put writes a conversation of a customer's and an agent's words, or replaces it, as a run would commit it.
func (l *library) put(source string, user, firm record.UUID, customer, agent string, distilled ...string) {
	l.tb.Helper()
	t := record.RowID(l.org, record.KindConversation, source)
	hash := []byte(customer + agent + strings.Join(distilled, "|"))
	messages, _ := json.Marshal([]map[string]any{
		{"id": source + "-1", "speaker": "user", "text": customer, "at": "2024-05-01T08:00:00Z"},
		{"id": source + "-2", "speaker": "agent", "text": agent, "at": "2024-05-01T09:00:00Z"},
	})
	owner := func(u record.UUID) *record.UUID {
		if u.IsZero() {
			return nil
		}
		return &u
	}
	execute(l.tb, l.db, `INSERT INTO public.transcripts (org_id, id, source_id, end_user_id, company_id, messages, knowledge_hash, started_at)
		VALUES ($1, $2, $3, $4, $5, $6, $7, '2024-05-01') ON CONFLICT (org_id, id) DO UPDATE SET knowledge_hash = excluded.knowledge_hash, messages = excluded.messages,
			end_user_id = excluded.end_user_id, company_id = excluded.company_id`, l.org, t, source, owner(user), owner(firm), messages, hash)
	execute(l.tb, l.db, `DELETE FROM public.knowledge WHERE org_id = $1 AND transcript_id = $2`, l.org, t)
	add := func(key, kind string, n int, content, metadata string) {
		execute(l.tb, l.db, `INSERT INTO public.knowledge (org_id, id, key, kind, chunk_index, title, content, end_user_id, company_id, transcript_id, source_message_ids, metadata, source_id)
			VALUES ($1, $2, $3, $4, $5, 'Title', $6, $7, $8, $9, $10, $11, $12)`, l.org, record.KnowledgeID(l.org, key, kind, n), key, kind, n, content, owner(user), owner(firm), t,
			[]string{source + "-1"}, metadata, source)
	}
	if customer+agent != "" {
		text := "Date: 2024-05-01\n\nCustomer: " + customer + "\nAgent (Kim): " + agent
		add("intercom:conversation:"+source, "parent", 0, text, "{}")
		add("intercom:conversation:"+source, "child", 0, text, "{}")
	}
	for i, d := range distilled {
		add(fmt.Sprintf("distilled:intercom:conversation:%s:fact:%d", source, i), "fact", 0, d,
			fmt.Sprintf(`{"distiller":"offline/2","quotes":[{"message_id":"%s-1","speaker":"user","start":0,"end":3,"text":"%.3s"}]}`, source, customer))
	}
	l.committed()
}

// committed moves a checkpoint, as every batch does.
func (l *library) committed() {
	l.run++
	execute(l.tb, l.db, `INSERT INTO ingest.checkpoints (org_id, run_id, stream, epoch, seq) VALUES ($1, $2, 'conversations', 1, 1)`, l.org, record.UUID{9, byte(l.run), byte(l.run >> 8)})
}

func (l *library) find(q SearchQuery) []string {
	l.tb.Helper()
	hits, err := l.db.Search(l.tb.Context(), l.org, q)
	if err != nil {
		l.tb.Fatal(err)
	}
	found := []string{}
	for _, h := range hits {
		found = append(found, h.SourceID)
	}
	return found
}

func TestSearchCountsTheCustomersWordsMost(t *testing.T) {
	l := newLibrary(t)
	u := l.person(1, "a@x.example")
	l.put("rest", u, record.UUID{}, "my cat is green", "we have a zeppelin here")
	l.put("distilled", u, record.UUID{}, "my cat is green", "we have a balloon here", "a zeppelin")
	l.put("customer", u, record.UUID{}, "my zeppelin is green", "we have a balloon here")
	for i := range 8 {
		l.put(fmt.Sprint("other", i), u, record.UUID{}, "the dog is blue", "we have balloons")
	}
	if diff := cmp.Diff([]string{"customer", "distilled", "rest"}, l.find(SearchQuery{Text: "zeppelins"})); diff != "" {
		t.Error(diff)
	}
	if got := l.find(SearchQuery{Text: "zeppelin", Limit: 1}); len(got) != 1 {
		t.Errorf("--limit 1 gives %q", got)
	}
}

func TestSearchKnowsTheLanguageOfEachRow(t *testing.T) {
	l := newLibrary(t)
	u := l.person(1, "a@x.example")
	l.put("en", u, record.UUID{}, "I have the invoices and they are not what I was told", "please have a look at what you can do")
	l.put("de", u, record.UUID{}, "ich habe die Rechnungen nicht und kann sie auch nicht finden", "bitte haben Sie noch ein wenig Geduld mit uns")
	l.put("fr", u, record.UUID{}, "je ne trouve pas les factures dans mon compte", "vous avez le lien sur votre page, nous sommes là pour vous")
	l.put("ja", u, record.UUID{}, "請求書が見つかりません", "確認いたします")
	l.put("code", u, record.UUID{}, "ERR-4711-X", "Ümlaut ÄRGER")
	for text, want := range map[string]string{"invoice": "en", "Rechnung": "de", "facture": "fr", "請求書": "ja", "見つかり": "ja", "err-4711-x": "code", "ärger": "code"} {
		if got := l.find(SearchQuery{Text: text}); !slices.Equal(got, []string{want}) {
			t.Errorf("%s: found %q, want %s", text, got, want)
		}
	}
	if got := l.find(SearchQuery{Text: "請求 見"}); !slices.Contains(got, "ja") {
		t.Errorf("a part of a word: %q", got)
	}
}

func TestSearchFindsPeopleAndCompaniesByName(t *testing.T) {
	l := newLibrary(t)
	ada, bob := l.person(1, "Ada@X.example"), l.person(2, "bob@x.example")
	acme, other := l.firm(1, "Acme Flying Machines"), l.firm(2, "Other")
	l.put("ada", ada, acme, "the printer is broken", "we are on it")
	l.put("bob", bob, other, "the printer is broken", "we are on it")
	for text, want := range map[string][]string{
		"ada@x.example":                     {"ada"},
		"(ADA@X.EXAMPLE)":                   {"ada"},
		"nobody@x.example":                  {},
		"acme flying machines":              {"ada"},
		"printer of Acme Flying Machines":   {"ada", "bob"},
		"printer, said bob@x.example":       {"bob", "ada"},
		"the printer of nobody@x.example":   {"ada", "bob"},
		"Acme":                              {},
		"broken printers at other":          {"bob", "ada"},
		`'; DROP TABLE knowledge; --`:       {},
		`\ ' & | ! ( ) <-> :* printer:A`:    {"ada", "bob"},
		strings.Repeat("printer ", 100_000): {"ada", "bob"},
	} {
		got := l.find(SearchQuery{Text: text})
		if slices.Sort(got); len(want) == 2 && want[0] == "bob" {
			got = l.find(SearchQuery{Text: text})
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%.60s: %s", text, diff)
		}
	}
}

// Whatever is asked for within a scope, nothing of anybody else is found, and nothing of the scope's own is missed that has the word.
func TestSearchWithinAScopeShowsNothingOfOthers(t *testing.T) {
	l := newLibrary(t)
	people := []record.UUID{l.person(1, "a@x.example"), l.person(2, "b@x.example"), l.person(3, "c@x.example")}
	firms := []record.UUID{l.firm(1, "Alpha Works"), l.firm(2, "Beta Works"), {}}
	words := []string{"printer", "invoice", "refund", "login", "parcel"}
	who := map[string][2]record.UUID{}
	says := map[string]string{}
	n := 0
	rapid.Check(t, func(t *rapid.T) {
		for range rapid.IntRange(1, 3).Draw(t, "conversations") {
			source := fmt.Sprint("c", n)
			n++
			u, f := rapid.SampledFrom(people).Draw(t, "person"), rapid.SampledFrom(firms).Draw(t, "firm")
			text := strings.Join(rapid.SliceOfN(rapid.SampledFrom(words), 1, 3).Draw(t, "words"), " ")
			l.put(source, u, f, text, "noted", text)
			who[source], says[source] = [2]record.UUID{u, f}, text
		}
		q := SearchQuery{Text: rapid.SampledFrom(append(words, "a@x.example", "Alpha Works", "printer Alpha Works b@x.example")).Draw(t, "query"), Limit: 1000}
		if rapid.Bool().Draw(t, "by person") {
			q.EndUser = rapid.SampledFrom(people).Draw(t, "asked person")
		}
		if rapid.Bool().Draw(t, "by firm") {
			q.Company = rapid.SampledFrom(firms[:2]).Draw(t, "asked firm")
		}
		inside := func(source string) bool {
			return (q.EndUser.IsZero() || who[source][0] == q.EndUser) && (q.Company.IsZero() || who[source][1] == q.Company)
		}
		hits, err := l.db.Search(l.tb.Context(), l.org, q)
		if err != nil {
			t.Fatal(err)
		}
		found := map[string]bool{}
		for _, h := range hits {
			found[h.SourceID] = true
			if !inside(h.SourceID) || !q.EndUser.IsZero() && h.EndUser != q.EndUser || !q.Company.IsZero() && h.Company != q.Company {
				t.Fatalf("%+v: %s is of %v", q, h.SourceID, who[h.SourceID])
			}
			for _, r := range h.Records {
				if !strings.Contains(r.Key, ":"+h.SourceID) {
					t.Fatalf("%s shows %s", h.SourceID, r.Key)
				}
			}
		}
		for source, text := range says {
			if inside(source) && slices.Contains(strings.Fields(text), q.Text) && !found[source] {
				t.Fatalf("%+v misses %s: %s", q, source, text)
			}
		}
	})
}

func TestSearchOfAnOrganisationSeesNoOther(t *testing.T) {
	l := newLibrary(t)
	u := l.person(1, "a@x.example")
	l.put("mine", u, record.UUID{}, "the printer is broken", "ok")
	hits, err := l.db.Search(t.Context(), record.UUID{7}, SearchQuery{Text: "printer a@x.example", EndUser: u})
	if err != nil || len(hits) != 0 {
		t.Errorf("%+v, %v", hits, err)
	}
}

// What is withdrawn is not found from then on, whatever the index was made from.
func TestSearchForgetsWhatIsWithdrawn(t *testing.T) {
	l := newLibrary(t)
	ada, bob := l.person(1, "a@x.example"), l.person(2, "b@x.example")
	l.put("one", ada, record.UUID{}, "my zeppelin is broken", "ok")
	l.put("two", ada, record.UUID{}, "my balloon is broken", "ok")
	if got := l.find(SearchQuery{Text: "zeppelin"}); !slices.Equal(got, []string{"one"}) {
		t.Fatalf("before: %q", got)
	}
	l.put("one", ada, record.UUID{}, "my kite is broken", "ok")
	if got := l.find(SearchQuery{Text: "zeppelin"}); len(got) != 0 {
		t.Errorf("after it was changed: %q", got)
	}
	if got := l.find(SearchQuery{Text: "kite"}); !slices.Equal(got, []string{"one"}) {
		t.Errorf("what it was changed to: %q", got)
	}
	l.put("two", bob, record.UUID{}, "my balloon is broken", "ok") // it is somebody else's now
	if got := l.find(SearchQuery{Text: "balloon", EndUser: ada}); len(got) != 0 {
		t.Errorf("after it went to somebody else: %q", got)
	}
	if got := l.find(SearchQuery{Text: "balloon", EndUser: bob}); !slices.Equal(got, []string{"two"}) {
		t.Errorf("of whose it is: %q", got)
	}
	execute(t, l.db, `DELETE FROM public.knowledge WHERE source_id = 'one'`)
	if got := l.find(SearchQuery{Text: "kite"}); len(got) != 0 {
		t.Errorf("after its rows were deleted, even before the index knows: %q", got)
	}
	l.committed()
	report, err := l.db.IndexKnowledge(t.Context(), l.org)
	if err != nil || report.Made != 0 || report.Removed != 1 {
		t.Errorf("the index: %+v, %v", report, err)
	}
	if report, err = l.db.IndexKnowledge(t.Context(), l.org); err != nil || report.Made+report.Removed != 0 {
		t.Errorf("once more: %+v, %v", report, err)
	}
}

// Knowledge that waits for its customer comes later than the transcript's digest of it.
func TestSearchFindsKnowledgeThatCameLate(t *testing.T) {
	l := newLibrary(t)
	u := l.person(1, "a@x.example")
	l.put("one", u, record.UUID{}, "my zeppelin is broken", "ok")
	execute(t, l.db, `CREATE TABLE kept AS SELECT * FROM public.knowledge; DELETE FROM public.knowledge`)
	if got := l.find(SearchQuery{Text: "zeppelin"}); len(got) != 0 {
		t.Fatalf("before: %q", got)
	}
	execute(t, l.db, `INSERT INTO public.knowledge SELECT * FROM kept`)
	l.committed()
	if got := l.find(SearchQuery{Text: "zeppelin"}); !slices.Equal(got, []string{"one"}) {
		t.Errorf("after: %q", got)
	}
}

func TestIndexTakesConversationsOfAnyLength(t *testing.T) {
	l := newLibrary(t)
	u := l.person(1, "a@x.example")
	var text strings.Builder
	for i := range 60_000 {
		fmt.Fprintf(&text, "word%d ", i)
	}
	l.put("long", u, record.UUID{}, "hello", "ok")
	tr := record.RowID(l.org, record.KindConversation, "long")
	for i := range 5 {
		execute(t, l.db, `INSERT INTO public.knowledge (org_id, id, key, kind, chunk_index, content, end_user_id, transcript_id, source_id) VALUES ($1, $2, 'intercom:conversation:long',
			'parent', $3, $4, $5, $6, 'long')`, l.org, record.UUID{8, byte(i)}, i+1, "Customer: zeppelin"+fmt.Sprint(i)+" "+text.String(), u, tr)
	}
	if got := l.find(SearchQuery{Text: "zeppelin4 word59999"}); !slices.Equal(got, []string{"long"}) {
		t.Errorf("found %q", got)
	}
	if parts := one[int](t, l.db, `SELECT count(*)::int FROM ingest.search_documents`); parts < 3 {
		t.Errorf("%d parts", parts)
	}
	l.put("long", u, record.UUID{}, "short now", "ok")
	if got := l.find(SearchQuery{Text: "zeppelin4"}); len(got) != 0 {
		t.Errorf("after it was cut: %q", got)
	}
	if parts := one[int](t, l.db, `SELECT count(*)::int FROM ingest.search_documents`); parts != 1 {
		t.Errorf("%d parts are left", parts)
	}
}

func TestKnowledgeIsShownByAnyOfItsNames(t *testing.T) {
	l := newLibrary(t)
	u := l.person(1, "a@x.example")
	l.put("77", u, record.UUID{}, "my zeppelin is broken", "ok", "a broken zeppelin", "a zeppelin")
	l.put("78", u, record.UUID{}, "another", "ok", "another")
	key := "distilled:intercom:conversation:77:fact:1"
	for ref, want := range map[string][]string{
		"77": {"fact", "fact"},
		record.RowID(l.org, record.KindConversation, "77").String(): {"fact", "fact"},
		key: {"fact"},
		record.KnowledgeID(l.org, key, "fact", 0).String(): {"fact"},
		"intercom:conversation:77":                         {"parent", "child"},
	} {
		got, err := l.db.Knowledge(t.Context(), l.org, ref)
		if err != nil {
			t.Fatal(err)
		}
		var kinds []string
		for _, r := range got.Records {
			kinds = append(kinds, r.Kind)
		}
		if diff := cmp.Diff(want, kinds); diff != "" || got.Conversation.SourceID != "77" || len(got.Messages) != 2 {
			t.Errorf("%s: %s\n%+v", ref, diff, got)
		}
		if want[0] == "fact" && (len(got.Records[0].Quotes) != 1 || got.Records[0].Quotes[0].Text != "my ") {
			t.Errorf("%s: quotes %+v", ref, got.Records[0].Quotes)
		}
	}
	for _, ref := range []string{"79", "", "7", record.UUID{5}.String(), "intercom:conversation:", key + "9"} {
		if got, err := l.db.Knowledge(t.Context(), l.org, ref); err == nil {
			t.Errorf("%q: %+v", ref, got)
		}
	}
	if _, err := l.db.Knowledge(t.Context(), record.UUID{7}, "77"); err == nil {
		t.Error("another organisation sees it")
	}
}

func TestLanguageOfTellsByFunctionWords(t *testing.T) {
	for text, want := range map[string]string{
		"": usualLanguage, "ERR-4711": usualLanguage, "请问怎么办": usualLanguage,
		"I cannot log in to my account, what should I do?":            "english",
		"Ich kann mich nicht anmelden, was soll ich tun?":             "german",
		"Je ne peux pas me connecter à mon compte, que dois-je faire": "french",
		"No puedo iniciar sesión en mi cuenta, ¿qué hago?":            "spanish",
		"Я не могу войти в аккаунт, что мне делать?":                  "russian",
		"Ik kan niet inloggen op mijn account, wat moet ik doen?":     "dutch",
	} {
		if got := languageOf(text); got != want {
			t.Errorf("%s: %s, want %s", text, got, want)
		}
	}
}

func FuzzSearchTakesAnyText(f *testing.F) {
	l := newLibrary(f)
	l.put("one", l.person(1, "a@x.example"), record.UUID{}, "my zeppelin is broken", "ok")
	for _, s := range []string{"zeppelin", "'", `\`, "a & b | !c <-> (d:*)", "%", "請求書が", "\x01", strings.Repeat("é", 5000)} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, text string) {
		if _, err := l.db.Search(t.Context(), l.org, SearchQuery{Text: record.CleanText(text)}); err != nil {
			t.Fatal(err)
		}
	})
}

// BenchmarkIndexing prints how many conversations are indexed in a second.
func BenchmarkIndexing(b *testing.B) {
	l := newLibrary(b)
	u := l.person(1, "a@x.example")
	body := strings.Repeat("the export of invoices fails since the last update and I do not know why it is so ", 12)
	for i := range 500 {
		l.put(fmt.Sprint("c", i), u, record.UUID{}, fmt.Sprint("number ", i, " ", body), "please try again "+body, "the export fails", "try again")
	}
	begin := time.Now()
	n := 0
	for b.Loop() {
		execute(b, l.db, `TRUNCATE ingest.search_documents, ingest.search_state`)
		report, err := l.db.IndexKnowledge(b.Context(), l.org)
		if err != nil || report.Made != 500 {
			b.Fatal(report, err)
		}
		n += 500
	}
	b.ReportMetric(float64(n)/time.Since(begin).Seconds(), "conversations/s")
}

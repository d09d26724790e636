package extract

import (
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"haloingest/pipeline/record"
)

func TestStableURLs(t *testing.T) {
	const amazon = "X-Amz-Algorithm=AWS4-HMAC-SHA256&X-Amz-Credential=AKIA%2F20240501&X-Amz-Date=20240501T000000Z&X-Amz-Expires=3600&X-Amz-SignedHeaders=host&X-Amz-Signature=0a1b"
	for _, c := range []struct{ name, in, want string }{
		{"no address", "signature=x", "signature=x"},
		{"a question is no address", "why?sig=abc or not? yes", "why?sig=abc or not? yes"},
		{"Intercom's loses its query", "https://downloads.intercomcdn.eu/a.png?expires=1&signature=x&req=y", "https://downloads.intercomcdn.eu/a.png"},
		{"Intercom's token goes", "https://downloads.intercomcdn.eu/a.png?token=x&w=5", "https://downloads.intercomcdn.eu/a.png?w=5"},
		{"another's signed address loses the signature", "https://bucket.example/a?Signature=x", "https://bucket.example/a"},
		{"Amazon's form", "https://files.example/a?" + amazon + " next", "https://files.example/a next"},
		{"Amazon's form in small letters", "https://files.example/a?" + strings.ToLower(amazon), "https://files.example/a"},
		{"Amazon's form of before", "https://b.s3.amazonaws.com/a?AWSAccessKeyId=AKIA&Expires=1714521600&Signature=x%2By%3D", "https://b.s3.amazonaws.com/a"},
		{"Google's form", "https://storage.googleapis.com/b/a?X-Goog-Algorithm=G&X-Goog-Date=2&X-Goog-Signature=3", "https://storage.googleapis.com/b/a"},
		{"Google's form of before", "https://storage.googleapis.com/b/a?GoogleAccessId=me@x&Expires=1714521600&Signature=3", "https://storage.googleapis.com/b/a"},
		{"CloudFront's form", "https://d1.cloudfront.net/a?Policy=eyJ~&Signature=x~&Key-Pair-Id=K2", "https://d1.cloudfront.net/a"},
		{"Azure's form", "https://b.blob.core.windows.net/a?sp=r&st=2024-05-01T00:00:00Z&se=2024-05-02T00:00:00Z&spr=https&sv=2022-11-02&sr=b&sig=x%3D", "https://b.blob.core.windows.net/a"},
		{"the other parameters stay", "https://cdn.example/i?id=5&expires=1714521600&w=10&signature=x&h=20#top", "https://cdn.example/i?id=5&w=10&h=20#top"},
		{"as HTML writes it", `<img src="https://cdn.example/i?expires=1714521600&amp;id=5&amp;signature=x&#38;h=20">`, `<img src="https://cdn.example/i?id=5&#38;h=20">`},
		{"all of it as HTML writes it", `<img src='https://files.example/a?` + strings.ReplaceAll(amazon, "&", "&amp;") + `'>`, `<img src='https://files.example/a'>`},
		{"an unsigned query stays", "https://downloads.intercomcdn.com/a?b=1", "https://downloads.intercomcdn.com/a?b=1"},
		{"a customer's own token stays", "https://shop.example/orders?token=abc", "https://shop.example/orders?token=abc"},
		{"short names alone are anybody's", "https://shop.example/?se=1&sp=2&sv=3&sr=4&policy=refunds&expires=2025-12-31", "https://shop.example/?se=1&sp=2&sv=3&sr=4&policy=refunds&expires=2025-12-31"},
		{"a time of expiry goes", "https://shop.example/a?hash=x&expires=1714521600", "https://shop.example/a?hash=x"},
		{"a name that only begins alike stays", "https://shop.example/a?signatures=2&sigma=3&sig", "https://shop.example/a?signatures=2&sigma=3&sig"},
		{
			"in HTML, several",
			`<img src="https://downloads.intercomcdn.com/a?signature=1"> and <a href='https://files.example/b?signature=2'>b</a>`,
			`<img src="https://downloads.intercomcdn.com/a"> and <a href='https://files.example/b'>b</a>`,
		},
		{"in JSON", `{"url":"https://files.example/a?signature=1","x":"\"https://i.intercom.example/?signature=1\""}`, `{"url":"https://files.example/a","x":"\"https://i.intercom.example/\""}`},
		{"in brackets", "[a](https://files.example/a_(1).png?n=(2)&sig=x).", "[a](https://files.example/a_(1).png?n=(2))."},
		{"at the end of a sentence", "See https://files.example/a?sig=x. It is there.", "See https://files.example/a. It is there."},
		{"in quotes that are entities", "&quot;https://files.example/a?sig=x&quot;", "&quot;https://files.example/a&quot;"},
		{"an address behind another", "https://proxy.example/p?x=1#https://files.example/a?sig=x", "https://proxy.example/p?x=1#https://files.example/a"},
		{"two marks in one address", "https://a.example/?signature=1&signature=2 x", "https://a.example/ x"},
		{"two question marks", "https://a.example/?a=1?signature=2&b=3", "https://a.example/?a=1&b=3"},
	} {
		t.Run(c.name, func(t *testing.T) {
			got := stableURLs(c.in)
			if got != c.want {
				t.Errorf("got  %s\nwant %s", got, c.want)
			}
			if again := stableURLs(got); again != got {
				t.Errorf("a second time gives %s", again)
			}
		})
	}
}

func TestTwoReadingsOfSignedFilesGiveEqualMessages(t *testing.T) {
	conversation := func(n int) string {
		sign := fmt.Sprintf("X-Amz-Date=2024%d&amp;X-Amz-Signature=s%d", n, n)
		bare := strings.ReplaceAll(sign, "&amp;", "&")
		return `{"id":"1","title":"https://files.example/t?` + bare + `","source":{"id":"s","type":"email","subject":"see https://files.example/s?` + bare + `","body":"https://files.example/p?` + bare + `","author":{"type":"user"}},
		"custom_attributes":{"file":"https://files.example/c?` + bare + `"},"conversation_rating":{"rating":1,"remark":"https://files.example/r?` + bare + `"},
		"conversation_parts":[{"id":"5","part_type":"comment","body":"<p>https://files.example/a?` + sign + ` <a href=\"https://files.example/b?` + sign + `\">b</a> <img alt=\"https://files.example/d?` + sign + `\" src=\"https://files.example/c?` + sign + `\"></p>",
		"author":{"type":"user"},"attachments":[{"name":"a","url":"https://files.example/a?` + bare + `"}]}]}`
	}
	one, _ := read(t, record.KindConversation, conversation(1))
	two, _ := read(t, record.KindConversation, conversation(2))
	if diff := cmp.Diff(one.Conversation, two.Conversation); diff != "" {
		t.Error(diff)
	}
	shown := fmt.Sprintf("%+v", *one.Conversation)
	if strings.Contains(shown, "X-Amz") || strings.Count(shown, "https://files.example/b") != 2 { // in html and text
		t.Errorf("got %s", shown)
	}
}

func TestAddressesAreReadInLinearTime(t *testing.T) {
	for _, unit := range []string{"a?sig=1#", "a?b(", "/?&", "?", "a.b/?sig=1&"} {
		in := "https://x.example/" + strings.Repeat(unit, 300_000)
		if got := stableURLs(in); len(got) > len(in) {
			t.Errorf("%q grew", unit)
		}
	}
}

func BenchmarkStableURLs(b *testing.B) {
	plain := strings.Repeat("The export stops after about two minutes and the file is empty. ", 5)
	for _, c := range []struct{ name, in string }{
		{"no question mark", plain}, {"questions", strings.ReplaceAll(plain, ".", "?")},
		{"signed", `<p>` + plain + `<img src="https://downloads.intercomcdn.com/i/o/1/a.png?expires=1714521600&amp;signature=0123456789abcdef&amp;req=abc"></p>`},
	} {
		b.Run(c.name, func(b *testing.B) {
			b.ReportAllocs()
			for range b.N {
				stableURLs(c.in)
			}
		})
	}
}

package edge

import (
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/skerry-dev/skerry/internal/inventory"
)

var (
	start = time.Unix(1_700_000_000, 0)
	older = Challenge{Nonce: "n", Instance: "one", Process: "p0", Since: start.Add(-time.Hour).Unix()}
	young = Challenge{Nonce: "n", Instance: "one", Process: "p9", Since: start.Add(time.Hour).Unix()}
	mine  = Challenge{Nonce: "n", Instance: "one", Process: "p1", Since: start.Unix()}
)

func TestJudgeClaim(t *testing.T) {
	h := Holder{Hub: "h", Instance: "one", Process: "p1", Since: start}
	reader, told := h, h
	reader.Instance, told.TakeOver = "", "two"
	toldProcess := h
	toldProcess.TakeOver = "p9"
	const grace = 10 * time.Second
	at := func(after time.Duration) Contest {
		return Contest{Nonce: "n", At: start, Now: start.Add(after), Grace: grace}
	}
	suspect := func(q Contest) Contest { q.Suspect = true; return q }
	for _, tt := range []struct {
		name string
		h    Holder
		c    *claim
		q    Contest
		want claimDecision
	}{
		{"no claim", h, nil, Contest{}, claimTake},
		{"its own", h, &claim{instance: "one"}, Contest{}, claimKeep},
		{"its own, taken from a copy", h, &claim{instance: "one.p1"}, Contest{}, claimKeep},
		{"of an earlier version", h, &claim{}, Contest{}, claimTake},
		{"seen by one that only reads", reader, &claim{instance: "two"}, Contest{}, claimKeep},

		{"of another instance", h, &claim{instance: "two"}, Contest{}, claimChallenge},
		{"of another instance, asked", h, &claim{instance: "two", challenge: mine}, at(grace - 1), claimWait},
		{"of another instance, asked by an earlier process", h, &claim{instance: "two", challenge: older, answered: "n"}, Contest{}, claimChallenge},
		{"of another instance, which answers", h, &claim{instance: "two", challenge: mine, answered: "n", by: "q"}, at(1), claimRefuse},
		{"of another instance, which answered in the last moment", h, &claim{instance: "two", challenge: mine, answered: "n", by: "q"}, at(grace), claimRefuse},
		{"of another instance, which answered long ago", h, &claim{instance: "two", challenge: mine, answered: "n", by: "q"}, at(rechallengeAfter * grace), claimChallenge},
		{"of another instance, which does not answer", h, &claim{instance: "two", challenge: mine}, at(grace), claimTake},
		{"of another instance, that a person told to give way", told, &claim{instance: "two", challenge: mine, answered: "n"}, Contest{}, claimTake},
		{"of a third, that a person did not name", told, &claim{instance: "three"}, Contest{}, claimChallenge},
		{"of another instance, asked by an older process", h, &claim{instance: "two", challenge: older}, Contest{}, claimWait},
		{"of another instance, asked by an older process that is gone", h, &claim{instance: "two", challenge: older}, at(staleChallenge * grace), claimChallenge},
		{"of another instance, asked by a younger process", h, &claim{instance: "two", challenge: young}, Contest{}, claimChallenge},

		{"its own, beside a copy", h, &claim{instance: "one"}, suspect(Contest{}), claimChallenge},
		{"its own, and the copy is asked", h, &claim{instance: "one", challenge: mine}, suspect(at(1)), claimWait},
		{"its own, and the copy answers", h, &claim{instance: "one", challenge: mine, answered: "n", by: "p9"}, suspect(at(1)), claimRefuse},
		{"its own, and the copy was told to give way", toldProcess, &claim{instance: "one", challenge: mine, answered: "n", by: "p9"}, suspect(at(1)), claimTake},
		{"its own, and the copy does not answer", h, &claim{instance: "one", challenge: mine}, suspect(at(grace)), claimKeep},
		{"its own, and an older copy asks", h, &claim{instance: "one", challenge: older}, Contest{}, claimWait},
		{"its own, and an older copy asks that is gone", h, &claim{instance: "one", challenge: older}, at(staleChallenge * grace), claimKeep},
		{"its own, and an older copy asks that was told to give way", h, &claim{instance: "one.p1", challenge: older}, Contest{}, claimKeep},
		{"its own, and a younger copy asks", h, &claim{instance: "one", challenge: young}, Contest{}, claimKeep},
	} {
		if got := tt.h.decide(tt.c, tt.q); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}
}

func TestAnswerClaim(t *testing.T) {
	h := Holder{Hub: "h", Instance: "one", Process: "p1", Since: start}
	other := Challenge{Nonce: "n", Instance: "two", Process: "q", Since: start.Add(-time.Hour).Unix()}
	for _, tt := range []struct {
		name    string
		c       *claim
		want    ClaimState
		answers bool
	}{
		{"gone", nil, ClaimGone, false},
		{"another hub's", &claim{hub: "x", instance: "one"}, ClaimTaken, false},
		{"another instance's", &claim{hub: "h", instance: "two"}, ClaimTaken, false},
		{"asked by nobody", &claim{hub: "h", instance: "one"}, ClaimStands, false},
		{"asked by itself", &claim{hub: "h", instance: "one", challenge: mine}, ClaimStands, false},
		{"asked by another instance, older or not", &claim{hub: "h", instance: "one", challenge: other}, ClaimStands, true},
		{"asked and answered", &claim{hub: "h", instance: "one", challenge: other, answered: "n"}, ClaimStands, false},
		{"asked by a younger copy", &claim{hub: "h", instance: "one", challenge: young}, ClaimStands, true},
		{"asked by an older copy", &claim{hub: "h", instance: "one", challenge: older}, ClaimYielded, false},
		{"asked by an older copy that a person told to give way", &claim{hub: "h", instance: "one.p1", challenge: older}, ClaimStands, true},
	} {
		if got, answers := h.answer(tt.c); got != tt.want || answers != tt.answers {
			t.Errorf("%s: %d, %v, want %d, %v", tt.name, got, answers, tt.want, tt.answers)
		}
	}
}

func TestClaimIsWrittenAndRead(t *testing.T) {
	for _, c := range []claim{
		{name: "skerry-hub", hub: "h"}, {name: "skerry-hub", hub: "h", instance: "one"}, {name: "skerry-hub-1", hub: "h", instance: "one", challenge: mine, version: "7"},
		{name: "skerry-hub", hub: "h", instance: "one", challenge: mine, answered: "n", by: "p9"},
	} {
		if got := readClaim(c.configMap()); *got != c {
			t.Errorf("%+v became %+v", c, *got)
		}
	}
	for _, garbage := range []string{"", "a", "a b c d", "a b c d e", "\x00 1 2 3"} {
		cm := (&claim{hub: "h"}).configMap()
		cm.Annotations[challengeAnnotation], cm.Annotations[answerAnnotation] = garbage, garbage
		_ = readClaim(cm)
	}
}

func TestInventoryNames(t *testing.T) {
	for owner, n := range map[string]int{"apps.0123": 1, "a-1-of-2.b": 12, "x": 1024} {
		if got, ok := inventoryOwner(inventoryName(owner, n-1, n)); !ok || got != owner {
			t.Errorf("%s: %s, %v", owner, got, ok)
		}
	}
	for _, name := range []string{
		"skerry-inventory-", "skerry-inventory-x", "skerry-inventory--0-of-1", "skerry-inventory-x-0-of-", "skerry-inventory-x-00-of-1",
		"skerry-inventory-x-0-of-1-of-", "skerry-inventory-x-0-of-1 ", "skerry-inventory-x-a-of-b", "skerry-inventory-0-of-1", "other", "skerry-hub",
	} {
		if got, ok := inventoryOwner(name); ok {
			t.Errorf("%q is of %q", name, got)
		}
	}
}

func TestWhatIsCorruptConcernsItsOwnerAlone(t *testing.T) {
	h := Holder{Hub: "h", Instance: "one"}
	shard := func(owner, name string, change func(*corev1.ConfigMap)) corev1.ConfigMap {
		parts, err := inventory.Encode(inventory.New(owner), 0)
		if err != nil {
			t.Fatal(err)
		}
		cm := systemConfigMap(name, partInventory)
		cm.Labels[ownerLabel] = owner
		cm.Annotations = map[string]string{hubAnnotation: "h", clusterAnnotation: "fleet/" + owner}
		cm.BinaryData = map[string][]byte{shardKey: parts[0]}
		if change != nil {
			change(cm)
		}
		return *cm
	}
	own := *(&claim{hub: "h", instance: "one"}).configMap()
	good := shard("good", inventoryName("good", 0, 1), nil)
	for _, tt := range []struct {
		name    string
		bad     corev1.ConfigMap
		corrupt string
		why     string
	}{
		{"data of something else", shard("bad", inventoryName("bad", 0, 1), func(cm *corev1.ConfigMap) { cm.BinaryData = map[string][]byte{shardKey: []byte("x")} }), "bad", "cannot be read"},
		{"no data", shard("bad", inventoryName("bad", 0, 1), func(cm *corev1.ConfigMap) { cm.BinaryData = nil }), "bad", "cannot be read"},
		{"the inventory of another", shard("good", inventoryName("bad", 0, 1), nil), "bad", "not its labels"},
		{"the inventory of another under its label", shard("good", inventoryName("bad", 0, 1), func(cm *corev1.ConfigMap) { cm.Labels[ownerLabel] = "bad" }), "bad", "cannot be read"},
		{"no owner", shard("bad", inventoryName("bad", 0, 1), func(cm *corev1.ConfigMap) { delete(cm.Labels, ownerLabel) }), "bad", "not its labels"},
		{"no hub", shard("bad", inventoryName("bad", 0, 1), func(cm *corev1.ConfigMap) { cm.Annotations = nil }), "bad", `is of hub ""`},
		{"another hub", shard("bad", inventoryName("bad", 0, 1), func(cm *corev1.ConfigMap) { cm.Annotations[hubAnnotation] = "x" }), "bad", `is of hub "x"`},
		{"a name that is none", shard("good", "anything", nil), "", ""},
		{"another part", shard("good", "anything", func(cm *corev1.ConfigMap) { cm.Labels = map[string]string{"skerry.dev/part": "hub"} }), "", ""},
	} {
		t.Run(tt.name, func(t *testing.T) {
			records, err := sortOut(h, []corev1.ConfigMap{tt.bad, own, good})
			if err != nil {
				t.Fatal(err)
			}
			if records.Inventories["good"] == nil || records.Clusters["good"] != "fleet/good" || records.Corrupt["good"] != nil {
				t.Errorf("the good one: %+v", records)
			}
			if tt.corrupt == "" {
				if len(records.Corrupt) > 0 || len(records.Inventories) > 1 {
					t.Errorf("kept %+v", records)
				}
				return
			}
			if c := records.Corrupt[tt.corrupt]; c == nil || records.Inventories[tt.corrupt] != nil || c.ConfigMap != tt.bad.Name || !strings.Contains(c.Error(), tt.why) {
				t.Errorf("corrupt: %v", c)
			}
		})
	}
	for _, claims := range [][]corev1.ConfigMap{
		{*(&claim{hub: "x"}).configMap(), good},
		{shard("bad", inventoryName("bad", 0, 1), func(cm *corev1.ConfigMap) { cm.Annotations[hubAnnotation] = "x" }), good},
	} {
		_, err := sortOut(h, claims)
		if other, ok := errors.AsType[*OtherHubError](err); !ok || other.Hub != "x" {
			t.Errorf("another hub: %v", err)
		}
	}
}

func TestSurprising(t *testing.T) {
	ours := func(owner string) bool { return owner == "a" }
	s := &Inventories{shards: map[string]map[string]string{"a": {inventoryName("a", 0, 1): "10"}, "b": {inventoryName("b", 0, 1): "10"}}}
	for _, tt := range []struct {
		name, version string
		there, want   bool
	}{
		{inventoryName("a", 0, 1), "10", true, false},
		{inventoryName("a", 0, 1), "9", true, false}, // the watch is behind
		{inventoryName("a", 0, 1), "11", true, true},
		{inventoryName("a", 0, 1), "", false, true},
		{inventoryName("a", 0, 2), "11", true, true},
		{inventoryName("a", 0, 2), "", false, false},
		{inventoryName("b", 0, 1), "11", true, false},
		{"other", "11", true, false},
	} {
		got, certain := s.ForeignWrite(tt.name, tt.there, tt.version, ours)
		if got != tt.want || !certain {
			t.Errorf("%s %s there=%v: %v, certain=%v", tt.name, tt.version, tt.there, got, certain)
		}
	}
	end := s.begin()
	if got, certain := s.ForeignWrite(inventoryName("a", 0, 1), true, "11", ours); !got || certain {
		t.Errorf("during a write: %v, certain=%v", got, certain)
	}
	end()
	if s.writing != 0 {
		t.Errorf("%d writes under way", s.writing)
	}
}

// TestHubsShareAClusterWhenAllOfThemSaySo lists which hub finds whose claim and inventories.
func TestHubsShareAClusterWhenAllOfThemSaySo(t *testing.T) {
	me := Holder{Hub: "me", Shared: true}
	alone := Holder{Hub: "me"}
	claimOf := func(h Holder) corev1.ConfigMap {
		cm := systemConfigMap(h.claimName(), partHub)
		cm.Annotations = map[string]string{hubAnnotation: h.Hub}
		return *cm
	}
	inventoryOf := func(hub, owner string) corev1.ConfigMap {
		cm := systemConfigMap(inventoryName(owner, 0, 1), partInventory)
		cm.Labels[ownerLabel], cm.Annotations = owner, map[string]string{hubAnnotation: hub}
		parts, err := inventory.Encode(inventory.New(owner), 0)
		if err != nil {
			t.Fatal(err)
		}
		cm.BinaryData = map[string][]byte{shardKey: parts[0]}
		return *cm
	}
	sharer, owner := claimOf(Holder{Hub: "other", Shared: true}), claimOf(Holder{Hub: "other"})
	for name, tt := range map[string]struct {
		h       Holder
		list    []corev1.ConfigMap
		refused bool
	}{
		"one that shares, beside another":                         {me, []corev1.ConfigMap{claimOf(me), sharer, inventoryOf("other", "theirs")}, false},
		"one that shares, and is new":                             {me, []corev1.ConfigMap{sharer, inventoryOf("other", "theirs")}, false},
		"one that shares, where another has it to itself":         {me, []corev1.ConfigMap{owner}, true},
		"one that shares, and another's without a claim":          {me, []corev1.ConfigMap{claimOf(me), inventoryOf("other", "theirs")}, true},
		"one that wants it to itself, where another shares it":    {alone, []corev1.ConfigMap{sharer}, true},
		"one that has it to itself, and another that came later":  {alone, []corev1.ConfigMap{claimOf(alone), sharer}, false},
		"one that wants it to itself from now on, beside another": {alone, []corev1.ConfigMap{claimOf(me), sharer}, true},
		"one that shared it until now":                            {alone, []corev1.ConfigMap{claimOf(me), inventoryOf("me", "mine")}, false},
		"one that had it to itself until now":                     {me, []corev1.ConfigMap{claimOf(alone), inventoryOf("me", "mine")}, false},
	} {
		records, err := sortOut(tt.h, append(tt.list, inventoryOf("me", "mine")))
		if _, other := errors.AsType[*OtherHubError](err); other != tt.refused || err != nil && !other {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if err == nil && (records.Inventories["mine"] == nil || records.Inventories["theirs"] != nil || records.Corrupt["theirs"] != nil) {
			t.Errorf("%s: kept %v, corrupt %v", name, records.Inventories, records.Corrupt)
		}
	}
}

// Two Clusters of one hub, of which one shares the cluster and the other does not, do not take each other's claim: who
// comes second is refused for as long as the first has a right to it.
func TestAClusterOfTheSameHubKeepsItsClaim(t *testing.T) {
	alone, shares := testHolder, testHolder
	shares.Shared, shares.Cluster = true, "fleet/other"
	for _, pair := range [][2]Holder{{alone, shares}, {shares, alone}} {
		for _, holds := range []bool{true, false} {
			st, c := newStub(t)
			load(t, storeOf(c, pair[0]))
			second := pair[1]
			second.Holds = func(cluster string) bool { return holds && cluster == pair[0].Cluster }
			_, err := storeOf(c, second).Load(t.Context(), Contest{Now: start, Grace: time.Second})
			other, refused := errors.AsType[*OtherClusterError](err)
			want := []string{second.claimName()}
			if holds {
				want = []string{pair[0].claimName()}
			}
			if refused != holds || err != nil && !refused || refused && other.Cluster != pair[0].Cluster || !slices.Equal(st.names(), want) {
				t.Errorf("%s, then %s, holds %v: %v, claims %v", pair[0].Cluster, second.Cluster, holds, err, st.names())
			}
		}
	}
}

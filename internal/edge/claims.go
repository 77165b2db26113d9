package edge

import (
	"context"
	"errors"
	"fmt"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/skerry-dev/skerry/api/v1alpha1"
)

// settleClaims brings the claims in order once the holder has its own. That of the other form, from before sharing
// was changed, goes. One who shares looks again: a hub, or another Cluster of this one, that wants the cluster to itself
// may have claimed it at the same moment, under the other name, and the one that shares gives way.
func (s *Inventories) settleClaims(ctx context.Context, records *Records) error {
	if records.former != nil {
		if err := s.remove(ctx, configMaps, records.former.Name, records.former.UID); err != nil {
			return fmt.Errorf("cannot delete the former claim: %w", err)
		}
	}
	if !s.holder.Shared || records.claim != nil {
		return nil
	}
	list, err := s.list(ctx, "")
	if err != nil {
		return fmt.Errorf("cannot read inventories: %w", err)
	}
	_, refused := sortOut(s.holder, list)
	for i := range list {
		if refused != nil && list[i].Name == s.holder.claimName() {
			return errors.Join(refused, s.remove(ctx, configMaps, list[i].Name, list[i].UID))
		}
	}
	return refused
}

// Rival reports whether a ConfigMap of SystemNamespace is the claim of a hub that wants to itself what this one shares.
func (s *Inventories) Rival(name string) bool { return s.holder.Shared && name == v1alpha1.ClaimName }

// IsClaim reports whether a ConfigMap has the name of this hub's claim.
func (s *Inventories) IsClaim(name string) bool { return name == s.holder.claimName() }

// ClaimName is the name of the ConfigMap of this hub's claim.
func (s *Inventories) ClaimName() string { return s.holder.claimName() }

// claim writes the ConfigMap that keeps other hubs away, where it does not stand yet. It returns
// ErrInventoryChanged when another hub was faster.
func (s *Inventories) claim(ctx context.Context, c *claim, q Contest) error {
	h, contested := s.holder, &ContestedError{Suspect: q.Suspect}
	if c != nil {
		contested.Holder, contested.Nonce = c.instance, c.challenge.Nonce
	}
	switch h.decide(c, q) {
	case claimKeep:
		return s.hold(ctx, c)
	case claimTake:
		return s.takeClaim(ctx, c, q.Suspect)
	case claimChallenge:
		asks := *c
		asks.challenge = Challenge{Nonce: fmt.Sprintf("%s-%d", h.Process, q.Now.UnixNano()), Instance: h.Instance, Process: h.Process, Since: h.Since.Unix()}
		contested.Nonce, contested.Waiting = asks.challenge.Nonce, true
		if err := s.putClaim(ctx, &asks); err != nil {
			return err
		}
	case claimWait:
		contested.Waiting = true
	case claimRefuse:
		if c.by != "" && q.Suspect {
			contested.Holder = c.by
		}
	}
	return contested
}

// hold keeps a claim that stands: it answers another process that asks, and takes back a question of its
// own that nothing has answered.
func (s *Inventories) hold(ctx context.Context, c *claim) error {
	s.mu.Lock()
	s.claimed = c.version
	s.mu.Unlock()
	if s.holder.Instance == "" || !c.pending() {
		return nil
	}
	held := *c
	if _, answers := s.holder.answer(c); answers {
		held.answered, held.by = c.challenge.Nonce, s.holder.Process
	} else {
		held.challenge = Challenge{}
	}
	return s.putClaim(ctx, &held)
}

// takeClaim writes a claim of this hub's. Where it is taken from another process of the same instance,
// it names the process.
func (s *Inventories) takeClaim(ctx context.Context, c *claim, suspect bool) error {
	taken := &claim{name: s.holder.claimName(), hub: s.holder.Hub, instance: s.holder.Instance, cluster: s.holder.Cluster}
	if suspect && c != nil {
		taken.instance += "." + s.holder.Process
	}
	if c != nil {
		taken.version = c.version
		return s.putClaim(ctx, taken)
	}
	if err := s.createNamespace(ctx); err != nil {
		return err
	}
	err := s.putClaim(ctx, taken)
	if !errors.Is(err, ErrInventoryChanged) {
		return err
	}
	// Another hub was faster, or what has the name of the claim has lost its label: in Skerry's own
	// namespace, under Skerry's own name, it is made what it must be.
	cm, err := s.get(ctx, taken.name)
	if apierrors.IsNotFound(err) || err == nil && cm.Labels[v1alpha1.PartLabel] == partHub {
		return ErrInventoryChanged
	}
	if err != nil {
		return fmt.Errorf("cannot read the claim: %w", err)
	}
	if hub := cm.Annotations[hubAnnotation]; hub != "" && hub != s.holder.Hub {
		return &OtherHubError{Hub: hub}
	}
	taken.version = cm.ResourceVersion
	return s.putClaim(ctx, taken)
}

func (s *Inventories) putClaim(ctx context.Context, c *claim) error {
	version, err := s.put(ctx, c.configMap())
	if errors.Is(err, ErrInventoryChanged) {
		return err
	}
	if err != nil {
		return fmt.Errorf("cannot claim the cluster: %w", err)
	}
	s.mu.Lock()
	s.claimed = version
	s.mu.Unlock()
	return nil
}

// ClaimKnown reports whether a version of the claim is the one that was read or written last.
func (s *Inventories) ClaimKnown(version string) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return version == s.claimed
}

// CheckClaim looks at the claim, which has changed, and answers where another hub asks whether this one works.
func (s *Inventories) CheckClaim(ctx context.Context) (ClaimState, error) {
	for try := 0; ; try++ {
		var c *claim
		cm, err := s.get(ctx, s.holder.claimName())
		if err != nil && !apierrors.IsNotFound(err) {
			return ClaimStands, fmt.Errorf("cannot read the claim: %w", err)
		}
		if err == nil {
			c = readClaim(cm)
		}
		state, answers := s.holder.answer(c)
		if !answers {
			if c != nil {
				s.mu.Lock()
				s.claimed = c.version
				s.mu.Unlock()
			}
			return state, nil
		}
		c.answered, c.by = c.challenge.Nonce, s.holder.Process
		if err := s.putClaim(ctx, c); !errors.Is(err, ErrInventoryChanged) || try >= 3 {
			return state, err
		}
	}
}

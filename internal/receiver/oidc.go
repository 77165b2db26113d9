package receiver

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/go-jose/go-jose/v4"
	"github.com/go-jose/go-jose/v4/jwt"

	"github.com/skerry-dev/skerry/api/v1alpha1"
	"github.com/skerry-dev/skerry/internal/expression"
	"github.com/skerry-dev/skerry/internal/recovery"
)

// clockSkew is by how much the clocks of an issuer and of the hub may differ.
const clockSkew = time.Minute

// algorithms are those that a token may be signed with: no symmetric one, whose key an issuer's public keys would
// tell.
var algorithms = []jose.SignatureAlgorithm{
	jose.RS256, jose.RS384, jose.RS512, jose.PS256, jose.PS384, jose.PS512, jose.ES256, jose.ES384, jose.ES512, jose.EdDSA,
}

// Provider accepts the tokens of one issuer that its validations hold for.
type Provider struct {
	// Issuer and Audience are what the claims iss and aud must have.
	Issuer, Audience string

	variables   []variable
	validations []validation
}

type variable struct {
	name    string
	program *expression.Program
}

type validation struct {
	program *expression.Program
	message string
}

// NewProvider reads the expressions of a provider of spec.oidcProviders.
func NewProvider(p v1alpha1.OIDCProvider) (*Provider, error) {
	out := &Provider{Issuer: p.IssuerURL, Audience: p.Audience}
	if out.Audience == "" {
		out.Audience = v1alpha1.DefaultOIDCAudience
	}
	for _, v := range p.Variables {
		program, err := expression.CompileValue(v.Expression, expression.DependencyLimit, "claims", "vars")
		if err != nil {
			return nil, fmt.Errorf("the variable %s: %w", v.Name, err)
		}
		out.variables = append(out.variables, variable{v.Name, program})
	}
	for i, v := range p.Validations {
		program, err := expression.Compile(v.Expression, expression.DependencyLimit, "claims", "vars")
		if err != nil {
			return nil, fmt.Errorf("validations[%d]: %w", i, err)
		}
		out.validations = append(out.validations, validation{program, v.Message})
	}
	if len(out.validations) == 0 {
		return nil, errors.New("it has no validations, and a public issuer signs for everybody")
	}
	return out, nil
}

// GoogleProvider accepts the tokens with which Pub/Sub of Google signs for one service account and audience.
func GoogleProvider(email, audience string) *Provider {
	holds, err := expression.Compile(fmt.Sprintf("claims.email == %q && claims.email_verified == true", email), expression.DependencyLimit, "claims", "vars")
	if err != nil { // an email that is none
		return &Provider{Issuer: GoogleIssuer, Audience: audience, validations: []validation{{nil, "the email of the Secret cannot be compared"}}}
	}
	return &Provider{Issuer: GoogleIssuer, Audience: audience, validations: []validation{{holds, "the token is not of the service account that the Secret names"}}}
}

// accept judges the claims of a token whose signature, issuer, audience and time hold. A message of a validation is
// the author's of the Receiver.
func (p *Provider) accept(claims map[string]any) error {
	vars, steps := map[string]any{}, uint64(0)
	input := map[string]any{"claims": claims, "vars": vars}
	return recovery.Run(func() error {
		for _, v := range p.variables {
			value, n, err := v.program.Value(input)
			if steps += n; err != nil || steps > filterSteps {
				return fmt.Errorf("%w: the variable %s of the Receiver has no value for this token", ErrUnauthorized, v.name)
			}
			vars[v.name] = value
		}
		for _, v := range p.validations {
			if v.program == nil {
				return fmt.Errorf("%w: %s", ErrUnauthorized, v.message)
			}
			holds, n, err := v.program.Holds(input)
			if steps += n; err != nil || !holds || steps > filterSteps {
				return fmt.Errorf("%w: %s", ErrUnauthorized, v.message)
			}
		}
		return nil
	})
}

// verifyToken authenticates a webhook by the token of an OIDC issuer in its header Authorization, and returns the
// claims. Nothing is asked of anyone for a token of an issuer that no provider names.
func (s Sender) verifyToken(ctx context.Context, w Webhook) (map[string]any, error) {
	raw, ok := strings.CutPrefix(w.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return nil, fmt.Errorf("%w: the header Authorization has no bearer token", ErrUnauthorized)
	}
	token, err := jwt.ParseSigned(raw, algorithms)
	if err != nil || len(token.Headers) != 1 {
		return nil, fmt.Errorf("%w: the bearer token is no token of OIDC, or signed in a way that is not accepted", ErrUnauthorized)
	}
	var unverified jwt.Claims
	if err := token.UnsafeClaimsWithoutVerification(&unverified); err != nil {
		return nil, fmt.Errorf("%w: the claims of the token cannot be read", ErrUnauthorized)
	}
	var provider *Provider
	for _, p := range s.Providers {
		if p.Issuer == unverified.Issuer || p.Issuer == GoogleIssuer && "https://"+unverified.Issuer == GoogleIssuer {
			provider = p
		}
	}
	if provider == nil || s.Keys == nil {
		return nil, fmt.Errorf("%w: the issuer of the token is none of the Receiver's", ErrUnauthorized)
	}
	keys, err := s.Keys.Of(ctx, provider.Issuer, token.Headers[0].KeyID)
	if len(keys) == 0 {
		if err != nil {
			return nil, fmt.Errorf("cannot fetch the keys of %s: %w", provider.Issuer, err)
		}
		return nil, fmt.Errorf("%w: the token is signed with a key that its issuer does not have", ErrUnauthorized)
	}
	for i := range keys {
		var claims jwt.Claims
		all := map[string]any{}
		if token.Claims(keys[i].Key, &claims, &all) != nil {
			continue
		}
		expected := jwt.Expected{Issuer: unverified.Issuer, AnyAudience: jwt.Audience{provider.Audience}, Time: s.Keys.Now()}
		if claims.Expiry == nil || claims.ValidateWithLeeway(expected, clockSkew) != nil {
			return nil, fmt.Errorf("%w: the token has expired, or is for another audience", ErrUnauthorized)
		}
		return all, provider.accept(all)
	}
	return nil, fmt.Errorf("%w: the signature of the token does not hold", ErrUnauthorized)
}

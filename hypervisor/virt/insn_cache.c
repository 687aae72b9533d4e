// The per-vCPU cache of decoded instructions.
//
// An entry is good while everything that it was made from still reads the same: the
// guest's page-table entries on the way to the code, and the code. Both are reached
// through pointers kept from the decode, which hold as long as the nested tables do
// (their generation is part of the key).
#include "virt/decode.h"

#include "cpu/err.h"
#include "cpu/memory.h"
#include "cpu/string.h"
#include "virt/x86.h"

#define PAGE_OFFSET(address) ((address) & (PAGE_SIZE - 1))
#define PAGE_NUMBER(address) ((address) / PAGE_SIZE)
#define WINDOW 8 // bytes of code that the fast path compares
#define CR3_ADDRESS UINT64_C(0x000FFFFFFFFFF000)
#define PML4_SHIFT 39
#define TABLE_INDEX_MASK 511

// The code of an instruction within one page, and the entries that led there.
struct insn_part {
    const uint8_t *code;
    uint8_t size;
    uint8_t levels;
    struct insn_entry_at entry[WALK_LEVELS];
};

struct insn_detail {
    struct insn insn;
    uint8_t bytes[INSN_LENGTH_MAX];
    uint8_t parts; // 2: it crosses into another page
    uint8_t entry_size; // 4 or 8
    struct insn_part part[2];
};

struct insn_cache_memory {
    struct insn_cache cache;
    struct insn_detail details[INSN_SLOTS];
};
#define CACHE_PAGES ((sizeof(struct insn_cache_memory) + PAGE_SIZE - 1) / PAGE_SIZE)

static void empty_slot(struct insn_slot *s) {
    s->generation = INSN_EMPTY;
    s->space = FETCH_NEVER; // matches no look-up
}

static void empty(struct insn_cache *cache) {
    for (int i = 0; i < INSN_SLOTS; i++) {
        empty_slot(&cache->slots[i]);
    }
}

struct insn_cache *insn_cache_create(void) {
    struct insn_cache_memory *memory = page_alloc(CACHE_PAGES);
    if (!memory) {
        return NULL;
    }
    memory->cache.details = memory->details;
    empty(&memory->cache);
    return &memory->cache;
}

void insn_cache_free(struct insn_cache *cache) {
    if (cache) {
        page_free(cache, CACHE_PAGES);
    }
}

void insn_cache_sync(struct insn_cache *cache, uint64_t generation) {
    if (cache->generation == generation) {
        return;
    }
    cache->generation = generation;
    empty(cache);
}

struct fetch_state fetch_state_of(uint64_t rip, uint64_t cs_base, uint32_t cs_attributes, uint64_t cr0,
    uint64_t cr3, uint64_t cr4, uint64_t efer) {
    struct fetch_state f = {rip, cr3};
    if (fetch_is_plain(cs_attributes, efer, cr4)) {
        return f;
    }
    if (!(efer & FETCH_EFER_LMA) || !(cs_attributes & SEG_ATTR_L)) {
        f.linear = (uint32_t)(cs_base + rip);
    }
    f.space |= FETCH_OTHER | ((cr0 & FETCH_CR0_PG) ? FETCH_PG : 0) | ((cr4 & FETCH_CR4_PAE) ? FETCH_PAE : 0)
        | ((cr4 & FETCH_CR4_PSE) ? FETCH_PSE : 0) | ((cr4 & FETCH_CR4_LA57) ? FETCH_LA57 : 0)
        | ((efer & FETCH_EFER_LMA) ? FETCH_LMA : 0) | ((cs_attributes & SEG_ATTR_L) ? FETCH_L : 0)
        | ((cs_attributes & SEG_ATTR_DB) ? FETCH_DB : 0);
    return f;
}

struct insn_stats vcpu_insn_stats(const struct vcpu *v) {
    return v->insns->stats;
}

static bool entry_is(const void *at, uint32_t size, uint64_t value) {
    if (size == 4) {
        return __atomic_load_n((const uint32_t *)at, __ATOMIC_RELAXED) == value;
    }
    return __atomic_load_n((const uint64_t *)at, __ATOMIC_RELAXED) == value;
}

// Whether all that the entry was made from still reads the same.
static bool intact(const struct insn_detail *d) {
    const uint8_t *bytes = d->bytes;
    for (int p = 0; p < d->parts; p++) {
        const struct insn_part *part = &d->part[p];
        for (int i = 0; i < part->levels; i++) {
            if (!entry_is(part->entry[i].at, d->entry_size, part->entry[i].value)) {
                return false;
            }
        }
        if (memcmp(part->code, bytes, part->size)) {
            return false;
        }
        bytes += part->size;
    }
    return true;
}

// A kernel's code is mapped alike under every CR3, by the same top-level entries: then
// the entry is good under the new CR3 too, once it points at that table. 64-bit code
// under 4-level paging only, the one mode where this happens all the time.
static bool follow_cr3(struct vcpu *v, struct insn_slot *s, struct insn_detail *d, uint64_t space) {
    if ((s->space | space) & FETCH_OTHER) {
        return false;
    }
    const void *top[2];
    uint64_t linear = s->linear;
    for (int p = 0; p < d->parts; p++) {
        uint64_t index = linear >> PML4_SHIFT & TABLE_INDEX_MASK;
        size_t available = 0;
        top[p] = guest_read_ptr(v->guest, (space & CR3_ADDRESS) + index * sizeof(uint64_t), &available);
        if (!top[p] || available < sizeof(uint64_t) || !entry_is(top[p], 8, d->part[p].entry[0].value)) {
            return false;
        }
        linear += d->part[p].size;
    }
    for (int p = 0; p < d->parts; p++) {
        d->part[p].entry[0].at = top[p];
    }
    s->entry[0].at = top[0];
    s->space = space;
    return true;
}

// What one fetch works on.
struct fetch {
    struct walk_context context;
    struct fetch_state state;
    uint32_t access;
    enum insn_mode mode;
    bool set_accessed;
    struct walk_fault *fault;
};

static enum insn_mode code_mode(const struct walk_context *c, uint32_t cs_attributes) {
    if (c->efer & EFER_LMA) {
        if (cs_attributes & SEG_ATTR_L) {
            return INSN_LONG_64;
        }
        return cs_attributes & SEG_ATTR_DB ? INSN_COMPAT_32 : INSN_COMPAT_16;
    }
    return cs_attributes & SEG_ATTR_DB ? INSN_LEGACY_32 : INSN_LEGACY_16;
}

static void fetch_begin(struct vcpu *v, struct fetch *f, struct walk_fault *fault) {
    struct segment cs;
    virt->seg_get(v, SEG_CS, &cs);
    walk_context(v, &f->context);
    f->state = virt->fetch_state(v);
    f->access = ACCESS_FETCH | (f->context.cpl == 3 ? ACCESS_USER : 0u);
    f->mode = code_mode(&f->context, cs.attributes);
    f->fault = fault;
}

// Translates `linear` and copies what its page holds of the next `want` bytes.
static int fetch_part(struct fetch *f, uint64_t linear, size_t want, uint8_t *bytes, struct insn_part *part) {
    struct guest *g = f->context.guest;
    struct walk_level levels[WALK_LEVELS];
    int count;
    uint64_t gpa;
    int result = guest_walk(&f->context, linear, f->access, f->set_accessed, &gpa, f->fault, levels, &count);
    if (result) {
        return result;
    }
    size_t available = 0;
    part->code = guest_read_ptr(g, gpa, &available);
    if (!part->code || !available) {
        *f->fault = (struct walk_fault){.address = linear, .hole = true, .hole_gpa = gpa};
        return -EFAULT;
    }
    size_t size = PAGE_SIZE - PAGE_OFFSET(gpa);
    size = size < available ? size : available;
    size = size < want ? size : want;
    memcpy(bytes, part->code, size);
    part->size = (uint8_t)size;
    part->levels = (uint8_t)count;
    for (int i = 0; i < count; i++) {
        // The walk has just read there.
        part->entry[i].at = guest_read_ptr(g, levels[i].gpa, &available);
        part->entry[i].value = levels[i].value;
    }
    return 0;
}

static uint64_t linear_after(const struct fetch *f, uint64_t count) {
    uint64_t linear = f->state.linear + count;
    return f->mode == INSN_LONG_64 ? linear : (uint32_t)linear;
}

// ---- The same code under other page tables ----
//
// A program that is started again and again has its code at the same place each time, in
// page tables that are new: neither the walk of a page that was just walked nor the
// decoding of bytes that were decoded before is done again.

#define FETCH_MODE (~CR3_ADDRESS & ~(uint64_t)(PAGE_SIZE - 1))

struct known {
    struct insn insn; // length 0: nothing is known
    uint8_t bytes[INSN_LENGTH_MAX];
};

// What was decoded at this place before, under any tables.
static void recall(const struct insn_cache *cache, struct fetch_state state, struct known *k) {
    k->insn.length = 0;
    for (uint32_t way = 0; way < 2 && k->insn.length == 0; way++) {
        uint32_t i = insn_slot_index(state.linear) ^ way;
        const struct insn_slot *s = &cache->slots[i];
        const struct insn_detail *d = &cache->details[i];
        if (s->linear == state.linear && !((s->space ^ state.space) & FETCH_MODE) && d->parts == 1) {
            k->insn = d->insn;
            memcpy(k->bytes, d->bytes, sizeof(k->bytes));
        }
    }
}

static bool is_known(const struct known *k, const uint8_t *code, size_t size) {
    return k->insn.length != 0 && k->insn.length <= size && !memcmp(code, k->bytes, k->insn.length);
}

// A known instruction in the page of the one that was fetched last, whose walk holds.
static bool fetch_known(struct insn_cache *cache, struct fetch_state state, uint64_t generation,
    const struct known *k, struct insn_detail *d) {
    const struct insn_slot *last = &cache->slots[cache->last];
    const struct insn_detail *from = &cache->details[cache->last];
    if (last->generation != generation || last->space != state.space || from->parts != 1
        || PAGE_NUMBER(last->linear) != PAGE_NUMBER(state.linear)) {
        return false;
    }
    struct insn_part part = from->part[0];
    uint8_t entry_size = from->entry_size;
    for (int i = 0; i < part.levels; i++) {
        if (!entry_is(part.entry[i].at, entry_size, part.entry[i].value)) {
            return false;
        }
    }
    part.code += PAGE_OFFSET(state.linear) - PAGE_OFFSET(last->linear);
    part.size = k->insn.length;
    if (!is_known(k, part.code, PAGE_SIZE - PAGE_OFFSET(state.linear))) {
        return false;
    }
    memcpy(d->bytes, k->bytes, sizeof(d->bytes));
    d->insn = k->insn;
    d->parts = 1;
    d->entry_size = entry_size;
    d->part[0] = part;
    return true;
}

static int fetch_and_decode(struct fetch *f, struct insn_detail *d, const struct known *k) {
    d->entry_size = (uint8_t)walk_entry_size(&f->context);
    d->parts = 1;
    int result = fetch_part(f, f->state.linear, INSN_LENGTH_MAX, d->bytes, &d->part[0]);
    if (result) {
        return result;
    }
    size_t first = d->part[0].size;
    if (is_known(k, d->bytes, first)) {
        d->insn = k->insn;
        d->part[0].size = d->insn.length;
        return 0;
    }
    result = insn_decode(f->mode, d->bytes, first, &d->insn);
    if (result == -ERANGE && first < INSN_LENGTH_MAX) {
        // It goes on in the next page: only now may that page's absence matter.
        d->parts = 2;
        uint64_t next = linear_after(f, first);
        result = fetch_part(f, next, INSN_LENGTH_MAX - first, d->bytes + first, &d->part[1]);
        if (result) {
            return result;
        }
        result = insn_decode(f->mode, d->bytes, first + d->part[1].size, &d->insn);
    }
    if (result) {
        return -EINVAL;
    }
    if (d->parts == 2) {
        d->part[1].size = (uint8_t)(d->insn.length - first);
    } else {
        d->part[0].size = d->insn.length;
    }
    return 0;
}

// Fills what the fast path compares, if it is one of those it can decide.
static void fill_slot(struct insn_cache *cache, struct insn_slot *s, const struct insn_detail *d,
    struct fetch_state state, uint64_t generation) {
    const struct insn_part *part = &d->part[0];
    *s = (struct insn_slot){
        .linear = state.linear,
        .space = state.space,
        .generation = generation,
        .levels = part->levels,
    };
    for (int i = 0; i < INSN_FAST_LEVELS; i++) {
        s->entry[i].at = &cache->zero;
    }
    s->code = (const uint8_t *)&cache->zero;
    s->bytes = s->mask = 1;
    bool wide = !part->levels || d->entry_size == 8;
    if (d->parts > 1 || d->insn.length > WINDOW || part->levels > INSN_FAST_LEVELS || !wide) {
        return;
    }
    for (int i = 0; i < part->levels; i++) {
        s->entry[i] = part->entry[i];
    }
    // At the end of a page the window starts before the instruction.
    uint64_t room = PAGE_SIZE - PAGE_OFFSET(s->linear);
    unsigned before = room < WINDOW ? (unsigned)(WINDOW - room) : 0;
    uint64_t bytes = 0, mask = 0;
    for (unsigned i = 0; i < d->insn.length; i++) {
        bytes |= (uint64_t)d->bytes[i] << 8 * (before + i);
        mask |= UINT64_C(0xFF) << 8 * (before + i);
    }
    s->code = part->code - before;
    s->bytes = bytes;
    s->mask = mask;
    s->length = d->insn.length;
    const struct insn *insn = &d->insn;
    bool load = insn->class == INSN_MOV_LOAD && insn->op == OP_MOV && insn->reg_size == sizeof(uint32_t);
    bool store = insn->class == INSN_MOV_STORE && insn->op == OP_MOV
        && (insn->reg_size == sizeof(uint32_t) || insn->reg_size == 0);
    if ((load || store) && insn->size == sizeof(uint32_t) && !insn->sign_extend) {
        s->move = load ? ACCESS_READ : ACCESS_WRITE;
        s->reg = insn->reg_size != 0 ? insn->reg : INSN_NO_REG;
        s->immediate = (uint32_t)insn->immediate;
    }
}

// The slot to decode into: a free one of the set, else by turns.
static uint32_t victim(struct insn_cache *cache, uint32_t index, uint64_t generation) {
    for (uint32_t way = 0; way < 2; way++) {
        if (cache->slots[index ^ way].generation != generation) {
            return index ^ way;
        }
    }
    // The turn is the set's own: with one for all sets, two places that are needed could
    // evict each other for ever while an old one stays.
    uint32_t set = index / 2;
    cache->turn[set] ^= 1;
    return set * 2 + cache->turn[set];
}

// The entry of `state` in either slot of its set, compared in full. INSN_SLOTS: none;
// *chosen: the slot whose entry turned out stale.
static uint32_t find(struct vcpu *v, struct fetch_state state, uint64_t generation, uint32_t *chosen) {
    struct insn_cache *cache = v->insns;
    for (uint32_t way = 0; way < 2; way++) {
        uint32_t i = insn_slot_index(state.linear) ^ way;
        struct insn_slot *s = &cache->slots[i];
        struct insn_detail *d = &cache->details[i];
        if (s->linear != state.linear || s->generation != generation) {
            continue;
        }
        if (s->space != state.space && !follow_cr3(v, s, d, state.space)) {
            continue;
        }
        if (intact(d)) {
            return i;
        }
        cache->stats.stale++;
        *chosen = i;
        break;
    }
    return INSN_SLOTS;
}

// Apart from vcpu_insn, so that a hit does not pay for these locals.
static __attribute__((noinline)) int insn_slow(struct vcpu *v, struct fetch_state state,
    const struct insn **insn, struct walk_fault *fault) {
    struct insn_cache *cache = v->insns;
    uint64_t generation = v->guest->nested_generation;
    uint32_t chosen = INSN_SLOTS;
    uint32_t found = find(v, state, generation, &chosen);
    if (found < INSN_SLOTS) {
        cache->stats.hits++;
        *insn = &cache->details[found].insn;
        return 0;
    }
    cache->stats.misses++;
    if (chosen == INSN_SLOTS) {
        chosen = victim(cache, insn_slot_index(state.linear), generation);
    }
    struct insn_slot *s = &cache->slots[chosen];
    struct insn_detail *d = &cache->details[chosen];
    struct known k;
    recall(cache, state, &k);
    empty_slot(s);
    if (k.insn.length == 0 || !fetch_known(cache, state, generation, &k, d)) {
        struct fetch f = {.set_accessed = true};
        fetch_begin(v, &f, fault);
        int result = fetch_and_decode(&f, d, &k);
        if (result) {
            return result;
        }
    }
    fill_slot(cache, s, d, state, generation);
    cache->last = chosen;
    *insn = &d->insn;
    return 0;
}

int vcpu_insn(struct vcpu *v, const struct insn **insn, struct walk_fault *fault) {
    struct fetch_state state = virt->fetch_state(v);
    const struct insn_slot *s = insn_slot_fast(v, state);
    if (__builtin_expect(!s, 0)) {
        return insn_slow(v, state, insn, fault);
    }
    struct insn_cache *cache = v->insns;
    cache->stats.hits++;
    *insn = &cache->details[s - cache->slots].insn;
    return 0;
}

int vcpu_insn_bytes(struct vcpu *v, uint8_t *bytes) {
    struct walk_fault fault;
    struct insn_part part;
    struct fetch f = {.set_accessed = false}; // a look leaves no trace
    fetch_begin(v, &f, &fault);
    size_t count = 0;
    while (count < INSN_LENGTH_MAX
        && !fetch_part(&f, linear_after(&f, count), INSN_LENGTH_MAX - count, bytes + count, &part)) {
        count += part.size;
    }
    return (int)count;
}

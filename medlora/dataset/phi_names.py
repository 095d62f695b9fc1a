"""Words that look like a person's name beside "patient" or a title, and are none."""

from __future__ import annotations


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# Diseases, signs, tests and devices named after people.
EPONYMS = _words(
    "addison alport alzheimer angelman apgar asperger babinski barlow barr barre barrett bartter "
    "basedow bechet becker behcet behçet bell bence berger binswanger bowen bright brown brucella "
    "brugada budd buerger burkitt castleman chagas charcot chiari chron churg collins conn cooley "
    "coombs cori creutzfeldt crigler crohn cushing dandy danlos darier dercum down dravet dressler "
    "duchenne dupuytren eaton ebstein ehlers eisenmenger ellison epstein ewing fabry fallot fanconi "
    "foley fontan friedreich gastaut gaucher gehrig gilbert glasgow gleason goodpasture graves guillain "
    "hansen hartnup hashimoto heberden heimlich henoch hirschsprung hodgkin holter horner hunter "
    "huntington hurler jacksonian jakob johnson kaposi kartagener kawasaki kegel kleinfelter "
    "klinefelter korsakoff krabbe lambert landau leber lennox lesch lewy lou lowe lyme lynch mallory "
    "marfan meckel menetrier meniere menkes merkel munchausen munchhausen ménière niemann noonan osgood "
    "osler paget pap papanicolaou parkinson perthes peyronie pick plummer pompe pott prader raynaud "
    "reiter rett reye rorschach sachs sanfilippo scheuermann schlatter schonlein sjogren sjögren "
    "stargardt stevens still sturge swyer sydenham takayasu tay tourette treacher turner usher vincent "
    "waldenstrom weber wegener weiss werner wernicke whipple willi wilms wilson wolff zellweger "
    "zollinger "
)

# What follows an eponym when the disease is meant and not the person.
EPONYM_TAIL = (
    r"(?:['’]s?)?\s+(?:disease|syndrome|disorder|lymphoma|sarcoma|sign|test|phenomenon|palsy|tumou?r|chorea|"
    r"dementia|ophthalmopathy|score|scale|maneuver|manoeuvre|contracture|esophagus|oesophagus|fracture|procedure|"
    r"catheter|monitor|exercises?|smear|patients?)"
)

# Capitalised words after "patient" or before an age that name no one.
NOT_NAMES = _words(
    "a access account act action activation activity acute adult adults advice advisory advocacy "
    "advocate africa african after age aged all also america american an and answer any april are as "
    "asian ask assessment assistance association at august australia australian autoimmune baby because "
    "before black brain breast britain british but can canada canadian cancer care carers case center "
    "centre child children china chinese christ chronic clinic clinical college common communication "
    "community complaint confidentiality consent council counseling counselling data day december "
    "department diabetes diagnosis did disease do does dose drug education eligibility emergency "
    "engagement england english europe european example experience facebook factors family february "
    "female fertility final first follow for forms forum foundation four france french friday from "
    "general germany global god government group guide guidelines had handling handout has have he "
    "health healthcare hear her his hispanic history home hospital how human i id if in india indian "
    "information institute insurance international ireland irish is it january jewish join july june "
    "kidney knowledge language leaflet leaflets liaison liver london lung male management march may "
    "measure medicaid medical medicare medication medicine mental monday my name national navigator "
    "navigators network news no not note notes november number nurse nutrition october of old on one "
    "online or order organisation organization our outcome outcomes outreach packet page panel "
    "participation perspective pharmacy phase physician plan please portal practice primary privacy "
    "profile program programme programs protection protocol public question questionnaire questions "
    "rare record records reference referral register registry rehabilitation relations report reported "
    "representative research resource resources response rights risk room safety satisfaction saturday "
    "scotland scottish screening second see self september service services she should sickle since six "
    "skin social society some spain spanish staff standard state stories story street student study "
    "summary sunday support survey symptoms team ten tests that the their therapy there these they "
    "third this those three thursday to tool toolkit transport treatment trial tuesday two type uk unit "
    "university update us usa used vaccine video voices wales was we website wednesday welsh what when "
    "where which while white who why will with woman women workshop world would written year you young "
    "your "
)
